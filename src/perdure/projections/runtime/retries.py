"""When an event that failed is tried again: each segment that stands before one waits for itself, the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.projections.state.segments import Segment
from perdure.repository import RetryConfig


class _Tries(NamedTuple):
    global_position: int
    attempts: int
    due: float


class Retries:
    """The attempts at the events before which segments stand.

    Args:
        retry: how often an event is tried, and how long to pause.
    """

    def __init__(self, retry: RetryConfig) -> None:
        self._retry = retry
        self._tries: dict[int, _Tries] = {}

    def failed(self, segments: Sequence[Segment], position: int, now: float) -> int:
        """Segments can't take the event at a position. Returns how often it was tried by now."""
        count = 1 + max(self._count(segment, position) for segment in segments)
        tries = _Tries(position, count, now + self._retry.delay(count))
        self._tries.update((segment.first_hash, tries) for segment in segments)
        return count

    def due(self, segment: Segment) -> float:
        """The time from which on a segment may go on; 0 when nothing holds it up."""
        tries = self._tries.get(segment.first_hash)
        return tries.due if tries and tries.global_position > segment.global_position else 0.0

    def forget(self, segments: Sequence[Segment]) -> None:
        """Begin to count anew."""
        for segment in segments:
            self._tries.pop(segment.first_hash, None)

    def _count(self, segment: Segment, position: int) -> int:
        tries = self._tries.get(segment.first_hash)
        return tries.attempts if tries and tries.global_position == position else 0

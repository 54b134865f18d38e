"""Counts the attempts at failed events, and says when each segment may try its event again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.projections.state.segments import Segment
from perdure.retry import RetryConfig


class _Attempts(NamedTuple):
    global_position: int
    made: int
    due: float


class Retries:
    """The attempts at the events that segments of one runner can't process. The other segments go on.

    Args:
        retry: how often an event is tried, and how long to pause in between.
    """

    def __init__(self, retry: RetryConfig) -> None:
        self._retry = retry
        self._attempts: dict[int, _Attempts] = {}

    def failed(self, segments: Sequence[Segment], position: int, now: float) -> int:
        """Count a failed attempt of some segments at an event. Return how many attempts that makes.

        Args:
            segments: the segments.
            position: the position of the event.
            now: the time of the event loop.
        """
        count = 1 + max(self._count(segment, position) for segment in segments)
        attempts = _Attempts(position, count, now + self._retry.delay(count))
        self._attempts.update((segment.first_hash, attempts) for segment in segments)
        return count

    def due(self, segment: Segment) -> float:
        """Return the time of the event loop from which a segment may go on; 0 if it needn't wait."""
        attempts = self._attempts.get(segment.first_hash)
        return attempts.due if attempts and attempts.global_position > segment.global_position else 0.0

    def forget(self, segments: Sequence[Segment]) -> None:
        """Count the attempts of some segments from 0 again."""
        for segment in segments:
            self._attempts.pop(segment.first_hash, None)

    def _count(self, segment: Segment, position: int) -> int:
        attempts = self._attempts.get(segment.first_hash)
        return attempts.made if attempts and attempts.global_position == position else 0

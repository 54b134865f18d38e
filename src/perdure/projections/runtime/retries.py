"""Counts the attempts at failed events, and says when each segment may try its event again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.projections.state.segments import Segment
from perdure.retry import RetryConfig


class _Attempts(NamedTuple):
    global_position: int
    made: int
    since: float
    due: float
    is_last: bool


class Retries:
    """The attempts at the events that segments of one runner can't process. The other segments go on.

    Args:
        retry: how often an event is tried, and how long to pause in between. Its time counts, from the first failure,
            only if it has no number of attempts: a handler may need long to fail.
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
        known = [one for segment in segments if (one := self._known(segment, position)) is not None]
        count = 1 + max([one.made for one in known], default=0)
        since = min([one.since for one in known], default=now)
        due = now + self._retry.delay(count)
        most = self._retry.max_attempts
        is_last = due - since >= self._retry.max_seconds if most is None else count >= most
        attempts = _Attempts(position, count, since, due, is_last)
        self._attempts.update((segment.first_hash, attempts) for segment in segments)
        return count

    def was_last(self, segment: Segment) -> bool:
        """Return whether the last attempt of a segment that failed leaves no further one."""
        return self._attempts[segment.first_hash].is_last

    def due(self, segment: Segment) -> float:
        """Return the time of the event loop from which a segment may go on; 0 if it needn't wait."""
        attempts = self._attempts.get(segment.first_hash)
        return attempts.due if attempts and attempts.global_position > segment.global_position else 0.0

    def forget(self, segments: Sequence[Segment]) -> None:
        """Count the attempts of some segments from 0 again."""
        for segment in segments:
            self._attempts.pop(segment.first_hash, None)

    def _known(self, segment: Segment, position: int) -> _Attempts | None:
        attempts = self._attempts.get(segment.first_hash)
        return attempts if attempts and attempts.global_position == position else None

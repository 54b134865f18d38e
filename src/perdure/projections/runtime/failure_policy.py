"""Decides what happens to an event that a projection can't process: retry, park or pause."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perdure.projections.engine import ProjectionDefinition
from perdure.projections.runtime.reporter import Reporter
from perdure.projections.runtime.retries import Retries
from perdure.projections.state.failures import EventFailure, Failure, TooManyParkedError, event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents
from perdure.projections.state.scope import DivertedEvent, Scope
from perdure.projections.state.segments import LAST_HASH, FencedError, Segment, Segments
from perdure.retry import RetryConfig


class FailurePolicy:
    """The failed events of one runner. They don't hold up segments other than their own.

    An event is tried as often as `retry` says. After that, the keys for which it fails are to be parked: the next batch
    gets that in its scope, and parks the event in the transaction that moves the checkpoint past it. If the projection
    doesn't park, or the keys aren't known, or too many events are parked, the segments are paused instead.

    Args:
        definition: the projection.
        segments: the segments of its build.
        parked_events: the parked events of its build.
        retry: how often an event is tried, and how long to pause in between.
        reporter: reports what happens.

    Attributes:
        blocked: The keys whose events are parked, skipped or to be retried, as last read.
    """

    def __init__(
        self,
        definition: ProjectionDefinition,
        segments: Segments,
        parked_events: ParkedEvents,
        retry: RetryConfig,
        reporter: Reporter,
    ) -> None:
        self.blocked = BlockedKeys()
        self._definition = definition
        self._segments = segments
        self._parked_events = parked_events
        self._max_attempts = retry.max_attempts
        self._retries = Retries(retry)
        self._reporter = reporter
        self._to_park: dict[tuple[int, Key], EventFailure] = {}

    async def read(self) -> None:
        """Read which keys are blocked."""
        self.blocked = await self._parked_events.blocked_keys()

    def scope(self, group: Sequence[Segment]) -> Scope:
        """Return the scope of the next batch of some segments."""
        return Scope(
            segments=None if sum(segment.width for segment in group) > LAST_HASH else group,
            skipped=self.blocked.skipped,
            blocked=self.blocked.blocked,
            parked=self._to_park,
        )

    def retry_due(self, segment: Segment) -> float:
        """Return the time of the event loop from which a segment may go on; 0 if it needn't wait."""
        return self._retries.due(segment)

    def parked(self, diverted: Sequence[DivertedEvent]) -> None:
        """Take note of the events that a batch has parked."""
        self._reporter.parked(diverted)
        for stored, key, *_ in diverted:
            self._to_park.pop((stored.global_position, key), None)
            self.blocked.blocked.add(key)

    async def failed(self, failure: Failure, group: Sequence[Segment]) -> bool:
        """Decide about the event that ended a batch.

        Args:
            failure: the event, and why it failed.
            group: the segments of the batch, as they are after it.

        Returns:
            Whether segments were paused.

        Raises:
            FencedError: this runner no longer has the segments for which the event failed.
        """
        segments = self._concerned(group, failure.keys)
        if isinstance(failure.error, TooManyParkedError):
            await self._pause(segments, failure, failure.error.attempts)
            return True
        now = asyncio.get_running_loop().time()
        attempts = self._retries.failed(segments, failure.stored.global_position, now)
        self._reporter.failed(failure, attempts, self._max_attempts)
        if not self._retries.was_last(segments[0]):
            return False
        if self._definition.on_failure == "park" and (names := self._parked_events.names_of(failure.keys)):
            self._park(segments, failure, attempts, names)
            return False
        await self._pause(segments, failure, attempts)
        return True

    def _concerned(self, group: Sequence[Segment], keys: Sequence[Key]) -> list[Segment]:
        hashes = [self._definition.key_codec.hash_of(key) for key in keys]
        segments = [segment for segment in group if not keys or any(map(segment.holds, hashes))]
        if not segments:
            raise FencedError
        return segments

    def _park(self, segments: Sequence[Segment], failure: Failure, attempts: int, names: Sequence[str]) -> None:
        stored_failure = event_failure(failure, attempts, names)
        self._to_park.update({(failure.stored.global_position, key): stored_failure for key in failure.keys})
        self._retries.forget(segments)
        self._reporter.parks(failure, attempts)

    async def _pause(self, segments: Sequence[Segment], failure: Failure, attempts: int) -> None:
        names = self._parked_events.names_of(failure.keys)
        await self._segments.pause(segments, event_failure(failure, attempts, names))
        self._retries.forget(segments)
        for key in failure.keys:
            self._to_park.pop((failure.stored.global_position, key), None)  # after `resume`, it is tried again
        self._reporter.paused(failure, attempts)

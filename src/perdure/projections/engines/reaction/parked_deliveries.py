"""Retries the parked events of a courier, beside the batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from perdure.errors import PerdureError
from perdure.observation import keys
from perdure.projections.engine import EngineHost
from perdure.projections.engines.reaction.calls import Calls
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.state.failures import Failure, event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import Parked, ParkedEvents
from perdure.projections.state.segments import FencedError, Segment, Segments
from perdure.retry import RetryConfig
from perdure.stores.postgres.connections.database import Database

logger = logging.getLogger("perdure.projections")

_AT_ONCE: Final = 100
"""How many parked events of a key are read at once."""


class ParkedDeliveries:
    """One task for each key whose parked events are being delivered.

    It ends once no event of the key is parked, or the first of them has failed again. A parked event stays parked until
    its delivery is recorded. So whatever ends the process, the next owner of the segment goes on with it.

    Args:
        database: the database of the store.
        calls: makes the calls.
        segments: the segments of the build.
        parked_events: its parked events.
        host: the runner's.

    Attributes:
        vacated: Segments for which no retry may begin.
        is_stopping: Whether no retry may begin at all.
    """

    def __init__(
        self, database: Database, calls: Calls, segments: Segments, parked_events: ParkedEvents, host: EngineHost
    ) -> None:
        self._database = database
        self._calls = calls
        self._courier = calls.courier
        self._segments = segments
        self._parked_events = parked_events
        self._host = host
        self.vacated: Sequence[Segment] = ()
        self.is_stopping = False
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """The tasks under way."""
        return list(self._tasks.values())

    def retry(self, key: Key) -> None:
        """Begin to deliver the parked events of a key, unless something of it is under way."""
        if key not in self._tasks and key not in self._calls.busy and self._may_begin(key):
            name = f"perdure {self._courier.kind} {self._courier.name}, retry"
            self._tasks[key] = self._host.tasks.start(partial(self._run, key), name)

    def report(self, failure: Failure, attempts: int, seconds: float) -> float | None:
        """Report a failure. Return after how many seconds the event is tried again; None if it isn't.

        Args:
            failure: the failure.
            attempts: how often the event was tried.
            seconds: how long ago it failed first.
        """
        retry = self._courier.retry
        self._host.reporter.failed(failure, attempts, retry.max_attempts)
        retry_in = pause_after(retry, attempts, seconds)
        if retry_in is None:
            self._host.reporter.parks(failure, attempts)
        return retry_in

    async def _run(self, key: Key) -> None:
        try:
            while queue := await self._parked_events.queue(key, _AT_ONCE):
                if not await self._deliver(key, queue):
                    break
            self._host.refresh()
        except FencedError:
            self._host.refresh()  # it was skipped
        except PerdureError as error:
            if not error.is_transient:
                raise
            details = keys(error, operation="retry", projection=self._courier.name)
            logger.debug("%s %r can't record a retry", self._courier.kind, self._courier.name, extra=details)
        finally:
            del self._tasks[key]

    async def _deliver(self, key: Key, queue: Sequence[Parked]) -> bool:
        """Deliver parked events of a key. Return whether all were delivered."""
        size = self._courier.most_at_once
        for chunk in (queue[start : start + size] for start in range(0, len(queue), size)):
            async with self._calls.slots:
                if not self._may_begin(key) or not await self._owns(key):
                    return False
                parcels = [Parcel(parked.stored, key, parked.attempts + 1, may_be_repeat=True) for parked in chunk]
                outcomes = await self._calls.deliver(parcels)
            if not await self._record(key, chunk, outcomes):
                return False
        return True

    async def _record(self, key: Key, chunk: Sequence[Parked], outcomes: Sequence[Exception | None]) -> bool:
        """Record what came of parked events. Return whether all were delivered."""
        count = next((index for index, error in enumerate(outcomes) if error is not None), len(chunk))
        if count:
            positions = [parked.stored.global_position for parked in chunk[:count]]
            async with self._database.connection() as connection, connection.transaction():
                await self._parked_events.unpark(connection, key, positions)
        if count == len(chunk):
            return True
        parked, error = chunk[count], outcomes[count]
        assert error is not None  # noqa: S101 - as `count` was found
        failure, attempts = Failure(parked.stored, error, (key,)), parked.attempts + 1
        retry_in = self.report(failure, attempts, parked.seconds)
        names = self._parked_events.names_of([key])
        await self._parked_events.record_failure(key, event_failure(failure, attempts, names), retry_in)
        return False

    def _may_begin(self, key: Key) -> bool:
        key_hash = self._courier.key_codec.hash_of(key)
        is_vacated = any(segment.holds(key_hash) for segment in self.vacated)
        return self._calls.may_begin and not self.is_stopping and not is_vacated

    async def _owns(self, key: Key) -> bool:
        key_hash = self._courier.key_codec.hash_of(key)
        return any(segment.holds(key_hash) for segment in await self._segments.owned())


def pause_after(retry: RetryConfig, attempts: int, seconds: float) -> float | None:
    """Return the seconds to pause after some failed attempts; None if no further one is made.

    Args:
        retry: how often to try. Its time counts only if it has no number of attempts.
        attempts: how many attempts have failed.
        seconds: how long ago the first of them was.
    """
    pause = retry.delay(attempts)
    if retry.max_attempts is not None:
        return pause if attempts < retry.max_attempts else None
    return pause if seconds + pause < retry.max_seconds else None

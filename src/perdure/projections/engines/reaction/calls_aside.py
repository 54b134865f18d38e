"""Calls beside the batches: retries of parked events, and calls that took so long that their events were parked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from perdure.errors import PerdureError
from perdure.observation import keys
from perdure.projections.engine import EngineHost
from perdure.projections.engines.reaction.batch import Batch, Worker
from perdure.projections.engines.reaction.courier import Courier, Parcel
from perdure.projections.state.failures import Failure, event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import Parked, ParkedEvents
from perdure.projections.state.scope import DivertedEvent
from perdure.projections.state.segments import FencedError, Segment, Segments
from perdure.stores.postgres.connections.database import Database

logger = logging.getLogger("perdure.projections")

_AT_ONCE: Final = 100
"""How many parked events of a key are read at once."""


class CallsAside:
    """One task for each key whose parked events are being delivered.

    It ends once no event of the key is parked, or the first of them has failed again. A parked event stays parked until
    its delivery is recorded. So whatever ends the process, the next owner of the segment goes on with it.

    Args:
        database: the database of the store.
        courier: what is delivered, and how.
        segments: the segments of the build.
        parked_events: its parked events.
        host: the runner's.
        slots: limits the calls under way.
        timeout: how long a call may take, in seconds.

    Attributes:
        is_stopping: Whether no further call may begin.
    """

    def __init__(
        self,
        database: Database,
        courier: Courier,
        segments: Segments,
        parked_events: ParkedEvents,
        host: EngineHost,
        *,
        slots: asyncio.Semaphore,
        timeout: float,
    ) -> None:
        self.is_stopping = False
        self._database = database
        self._courier = courier
        self._segments = segments
        self._parked_events = parked_events
        self._host = host
        self._slots = slots
        self._timeout = timeout
        self._tasks: dict[Key, Worker] = {}
        self._taken: dict[Worker, asyncio.Future[bool]] = {}
        """The workers whose calls were set aside; the result says whether their events are parked."""

    def __len__(self) -> int:
        return len(self._tasks)

    def is_busy(self, segment: Segment) -> bool:
        """Return whether a call for one of the keys of a segment is under way."""
        return any(segment.holds(self._courier.key_codec.hash_of(key)) for key in self._tasks)

    def retry(self, key: Key) -> None:
        """Begin to deliver the parked events of a key, unless that is under way."""
        if key not in self._tasks and not self.is_stopping:
            name = f"perdure reaction {self._courier.name}, retry"
            self._tasks[key] = self._host.tasks.start(partial(self._run, key), name)

    async def take(self, batch: Batch, record: Callable[[Batch], Awaitable[bool]]) -> None:
        """Take the calls of a batch that are under way, and park their events until the calls have ended."""
        calls, batch.calls = batch.calls, {}
        parked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for worker, parcels in calls.items():
            self._taken[worker] = parked
            for key in dict.fromkeys(parcel.key for parcel in parcels):
                self._tasks[key] = worker
                own = [parcel for parcel in parcels if parcel.key == key]
                waiting = [DivertedEvent(one.stored, key, None) for one in [*own, *batch.page.following(own[0])]]
                batch.page.failed(own[0], waiting)
        try:
            is_parked = await record(batch) and batch.overflow is None and not batch.page.settled()[0]
        except BaseException:
            parked.set_result(False)
            await asyncio.wait(calls)  # a batch that begins again must not call for the same events meanwhile
            raise
        parked.set_result(is_parked)
        batch.workers -= set(calls)
        if not is_parked:
            await asyncio.wait(calls)

    async def ended(self, parcels: Sequence[Parcel], outcomes: Sequence[Exception | None]) -> bool:
        """Record what came of a call that was taken, and go on with what is parked behind it.

        Returns:
            False if the events couldn't be parked, so that they still belong to the batch.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio's runs in one
        listed = dict.fromkeys(parcel.key for parcel in parcels)
        try:
            if not await self._taken.pop(task):
                return False
            for key in listed:
                own = [index for index, parcel in enumerate(parcels) if parcel.key == key]
                queue = [Parked(parcels[index].stored, parcels[index].attempt - 1, 0.0) for index in own]
                if await self._recorded(key, queue, [outcomes[index] for index in own]):
                    await self._drain(key)
        except FencedError:
            pass  # it was skipped
        except PerdureError as error:
            self._not_recorded(error)
        finally:
            for key in listed:
                self._tasks.pop(key, None)
            self._host.refresh()
        return True

    async def close(self, timeout: float) -> None:
        """Begin no more calls. Wait for those under way for so many seconds at most, and cancel the rest."""
        self.is_stopping = True
        tasks = set(self._tasks.values())
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=timeout)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def report(self, failure: Failure, attempts: int, seconds: float) -> float | None:
        """Report a failure. Return after how many seconds the event is tried again; None if it isn't."""
        retry_in = self._courier.retry_in(attempts, seconds)
        retry = self._courier.retry
        self._host.reporter.failed(failure, attempts, None if retry is None else retry.max_attempts)
        if retry_in is None:
            self._host.reporter.parks(failure, attempts)
        return retry_in

    async def _run(self, key: Key) -> None:
        try:
            await self._drain(key)
        except FencedError:
            pass  # it was skipped
        except PerdureError as error:
            if not error.is_transient:
                raise
            self._not_recorded(error)
        finally:
            self._tasks.pop(key, None)
            self._host.refresh()

    async def _drain(self, key: Key) -> None:
        """Deliver the parked events of a key until none is left, or one fails."""
        while queue := await self._parked_events.queue(key, _AT_ONCE):
            size = self._courier.most_at_once
            for chunk in (queue[start : start + size] for start in range(0, len(queue), size)):
                async with self._slots:
                    if self.is_stopping or not await self._owns(key):
                        return
                    parcels = [Parcel(parked.stored, key, parked.attempts + 1, may_be_repeat=True) for parked in chunk]
                    outcomes = await self._courier.deliver(parcels, self._timeout)
                if not await self._recorded(key, chunk, outcomes):
                    return

    async def _recorded(self, key: Key, queue: Sequence[Parked], outcomes: Sequence[Exception | None]) -> bool:
        """Record what came of parked events. Return whether all of them were delivered."""
        delivered = [one.stored.global_position for one, error in zip(queue, outcomes, strict=True) if error is None]
        count = next((index for index, error in enumerate(outcomes) if error is not None), len(queue))
        if count:
            async with self._database.connection() as connection, connection.transaction():
                await self._parked_events.unpark(connection, key, delivered[:count])
        if count == len(queue):
            return True
        parked, error = queue[count], outcomes[count]
        assert error is not None  # noqa: S101 - as `count` was found
        failure, attempts = Failure(parked.stored, error, (key,)), parked.attempts + 1
        retry_in = self.report(failure, attempts, parked.seconds)
        names = self._parked_events.names_of([key])
        await self._parked_events.record_failure(key, event_failure(failure, attempts, names), retry_in)
        return False

    async def _owns(self, key: Key) -> bool:
        key_hash = self._courier.key_codec.hash_of(key)
        return any(segment.holds(key_hash) for segment in await self._segments.owned())

    def _not_recorded(self, error: PerdureError) -> None:
        logger.debug(
            "reaction %r can't record a retry: %s", self._courier.name, error, extra=keys(error, operation="retry")
        )

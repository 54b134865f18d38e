"""Runs one projection: follows the log, takes it batch by batch, retries what fails, and pauses if that is no help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from perdure.errors import (
    DatabaseError,
    LogDivergedError,
    PerdureError,
    ProjectionDefinitionError,
    ProjectionPausedError,
    ProjectionTimeoutError,
)
from perdure.events import StoredEvent
from perdure.log import Changes, verify_position
from perdure.projections.batches import Batches, CheckpointMovedError
from perdure.projections.checkpoints import Checkpoint, Checkpoints
from perdure.projections.definition import Definition
from perdure.projections.fold import Failure
from perdure.projections.storage import Storage
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore

logger = logging.getLogger("perdure.projections")

_LOOK_AGAIN: Final = 1.0
"""Seconds after which a paused projection looks whether another process resumed it."""
_TROUBLE: Final = RetryConfig(base_delay=0.1, max_delay=5.0)


class _Stopped(BaseException):
    """The way out of the loop when nothing is under way. No error, so that nothing catches it as one."""


class Runner:
    """One projection at work.

    Args:
        store: where the events are.
        definition: the projection.
        schema: the schema that holds its tables and views.
        batch_size: how many events make a batch, at most.
        retry: how an event that fails is tried again before the projection is paused.
    """

    def __init__(
        self, store: PostgreSQLEventStore, definition: Definition, *, schema: str, batch_size: int, retry: RetryConfig
    ) -> None:
        self.definition = definition
        self.checkpoint = Checkpoint(0, None)
        self.trouble: Exception | None = None
        """What keeps it from going on, other than an event: a database that is down."""
        self._store = store
        self._batch_size = batch_size
        self._retry = retry
        self._storage = Storage(definition, schema)
        self._checkpoints = Checkpoints(store.database, definition, schema)
        self._batches = Batches(store.database, definition, self._checkpoints, self._storage)
        self._changes = Changes()
        # What was read before a projection was resumed must not come after it.
        self._refreshing = asyncio.Lock()
        self._troubles = 0
        self._is_shown = True
        self._show_from = 0
        self._stopping = False
        self._idle = False
        self._task: asyncio.Task[None] | None = None

    @property
    def told_trouble(self) -> str | None:
        """The trouble in words; None when there is none."""
        return None if self.trouble is None else str(self.trouble) or type(self.trouble).__name__

    async def set_up(self) -> None:
        """Make the tables, and see that the checkpoint fits the log.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the tables aren't those of this projection.
            LogDivergedError: the log isn't the one that the rows were made from.
        """
        self._is_shown = await self._checkpoints.set_up(self._storage)
        await self._refresh()

    def start(self) -> None:
        """Begin to follow the log."""
        self._task = asyncio.create_task(self._run(), name=f"perdure projection {self.definition.name}")

    async def stop(self, timeout: float) -> None:
        """Finish the batch under way, if that takes no longer than `timeout`; else it is rolled back."""
        if self._task is None:
            return
        self._stopping = True
        if self._idle:
            self._task.cancel()
        await asyncio.wait((self._task,), timeout=timeout)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait_for(self, global_position: int, timeout: float) -> None:
        """Return once the rows show everything up to this position. Raises as `ProjectionService.wait_for` does."""
        name, loop = self.definition.name, asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (reached := self.checkpoint.global_position) < global_position:
            seen = self._changes.count
            if failure := self.checkpoint.failure:
                raise ProjectionPausedError(name, failure.global_position, f"{failure.error_type}: {failure.message}")
            if isinstance(self.trouble, LogDivergedError):
                raise self.trouble
            remaining = deadline - loop.time()
            if remaining <= 0:
                raise ProjectionTimeoutError(name, global_position, reached, timeout, self.told_trouble)
            await self._changes.wait(seen, remaining)

    async def resume(self) -> None:
        """Go on, if it is paused."""
        await self._checkpoints.resume()
        async with self._refreshing:
            if self.checkpoint.failure:
                self._reached(await self._read())

    async def read(self) -> tuple[Checkpoint, int]:
        """Where it stands, and where the log ends."""
        end = await self._checkpoints.log_end()
        return await self._checkpoints.read(), end

    async def _run(self) -> None:
        with suppress(_Stopped):
            while True:
                try:
                    await self._refresh()
                    await (self._wait_for_resume() if self.checkpoint.failure else self._follow())
                except CheckpointMovedError:
                    logger.debug("projection %r is moved by another service too", self.definition.name)
                except Exception as error:  # noqa: BLE001 - it must survive whatever the database does
                    await self._wait_out(error)

    async def _read(self) -> Checkpoint:
        checkpoint = await self._checkpoints.read()
        if checkpoint.event_id is not None:
            name = f"projection {self.definition.name!r}"
            await verify_position(self._store, name, checkpoint.global_position, checkpoint.event_id)
        return checkpoint

    async def _refresh(self) -> None:
        async with self._refreshing:
            self._reached(await self._read())

    def _reached(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.trouble = None
        self._troubles = 0
        self._changes.announce()

    async def _wait_for_resume(self) -> None:
        with self._interruptible():
            await self._changes.wait(self._changes.count, _LOOK_AGAIN)

    async def _follow(self) -> None:
        """Follow the log from the checkpoint, until an event fails for good."""
        subscription = self._store.subscribe(self.checkpoint.global_position, from_event_id=self.checkpoint.event_id)
        waiting: Sequence[StoredEvent] = ()
        attempts = 0
        while not self.checkpoint.failure:
            await self._show_when_caught_up()
            with self._interruptible():
                waiting = waiting or (await subscription.next_page(self._batch_size)).events
            if not waiting:
                continue
            taken = await self._batches.take(self.checkpoint, waiting)
            self._reached(taken.checkpoint)
            waiting = waiting[taken.done :]
            attempts = 0 if taken.done else attempts
            if taken.failure is not None:
                attempts += 1
                await self._after_failure(taken.failure, attempts)

    async def _after_failure(self, failure: Failure, attempts: int) -> None:
        stored, error = failure
        logger.warning(
            "projection %r can't take event %s (%s) at position %d, attempt %d of %d: %r",
            self.definition.name,
            stored.event_id,
            stored.event_type,
            stored.global_position,
            attempts,
            self._retry.max_attempts,
            error,
        )
        if attempts < self._retry.max_attempts:
            await self._rest(self._retry.delay(attempts))
            return
        await self._checkpoints.pause(self.checkpoint, failure, attempts)
        await self._refresh()
        logger.error("projection %r is paused; mend the cause and resume it", self.definition.name, exc_info=error)

    async def _wait_out(self, error: Exception) -> None:
        self.trouble = error
        self._troubles += 1
        self._changes.announce()
        delay = _TROUBLE.delay(self._troubles)
        unexpected = None if isinstance(error, PerdureError) else error
        name = self.definition.name
        logger.warning("projection %r: %s; next try in %.2f s", name, error, delay, exc_info=unexpected)
        await self._rest(delay)

    async def _show_when_caught_up(self) -> None:
        """Let the views show a new version once nothing is missing in it that the older one has."""
        if self._is_shown or self.checkpoint.global_position < self._show_from:
            return
        self._show_from = await self._checkpoints.log_end()
        if self.checkpoint.global_position + self._batch_size < self._show_from:
            return
        try:
            await self._checkpoints.show(self._storage)
        except (DatabaseError, ProjectionDefinitionError) as error:
            logger.error("projection %r: the views still show the older version: %s", self.definition.name, error)  # noqa: TRY400 - its text says all
        self._is_shown = True

    async def _rest(self, seconds: float) -> None:
        with self._interruptible():
            await asyncio.sleep(seconds)

    @contextmanager
    def _interruptible(self) -> Generator[None]:
        """Around each wait with nothing under way: there, and only there, `stop` cuts in."""
        if self._stopping:
            raise _Stopped
        self._idle = True
        try:
            yield
        finally:
            self._idle = False

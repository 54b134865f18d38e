"""The batch that comes next is made ready while one is written: planned, and the rows loaded that it needs.

What is ready is used only if all is as it was foreseen. Else the batch is made ready anew, as if there had been
nothing: whatever goes wrong here is dropped, and met again there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from perdure.events import StoredEvent
from perdure.projections.engine import Following
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import BatchPlan, Needed, Rows, needed, plan
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Checkpoint, Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Database
from perdure.tasks import INTERRUPTS


class Ready(NamedTuple):
    """A batch that can be folded."""

    plan: BatchPlan
    needed: Needed
    rows: Rows


class _Foreseen(NamedTuple):
    """The batch that is expected, and the work on it."""

    since: Checkpoint
    segments: list[tuple[int, int, int]]
    task: asyncio.Task[tuple[Sequence[StoredEvent], Ready] | None]


class Preparing:
    """Makes the next batch of one build ready.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its checkpoints.
        storage: its tables.
    """

    def __init__(
        self, database: Database, definition: TableDefinition, segments: Segments, storage: TableStorage
    ) -> None:
        self._database = database
        self._definition = definition
        self._segments = segments
        self._storage = storage
        self.interrupt: BaseException | None = None
        """What asked the process to end meanwhile."""
        self._foreseen: _Foreseen | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, written: Ready, then: Following
    ) -> None:
        """Make ready what follows a batch whose transaction has moved the checkpoint and is about to write the rows.

        Args:
            group: the segments of the batch, as they stood before it.
            events: the events of the batch.
            scope: which rows they concern. Nothing may be parked or skipped.
            written: the batch, with the rows as they will be. No parent of child rows may be deleted.
            then: waits for the events that follow.
        """
        self.forget()
        task = asyncio.create_task(self._make_ready(group, scope, written, then), name="perdure projection, next batch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._foreseen = _Foreseen(checkpoint_at(events[-1]), _identities(group), task)

    async def take(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> Ready | None:
        """What was made ready for these events, if it was for exactly these, and nothing has changed since."""
        foreseen = self._foreseen
        if foreseen is None:
            return None
        if foreseen[:2] != (group[0].checkpoint, _identities(group)) or scope.only is not None or scope.may_divert:
            self.forget()
            return None
        await asyncio.wait((foreseen.task,))
        self._foreseen = None
        found = None if foreseen.task.cancelled() else foreseen.task.result()
        if found is None:
            return None
        expected, ready = found
        # The same objects, for what is read anew may be from another server.
        return ready if expected == events else None

    def forget(self) -> None:
        """Drop what is ready, and stop what is under way."""
        if self._foreseen is not None:
            self._foreseen.task.cancel()
            self._foreseen = None

    async def close(self, timeout: float) -> None:
        """Stop; wait for so many seconds at most until that is done."""
        self.forget()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def _make_ready(
        self, group: Sequence[Segment], scope: Scope, written: Ready, then: Following
    ) -> tuple[Sequence[StoredEvent], Ready] | None:
        try:
            events = await then()
            batch = plan(self._definition, events, Scope(segments=scope.segments))
            if not events or batch.failure is not None:
                return None
            keys = needed(self._definition, batch.steps)
            rows = await self._load(group, _without(keys, written.needed))
        except INTERRUPTS as error:
            self.interrupt = error  # the task that runs the projection raises it: here, it would leave the event loop
            return None
        except Exception:  # noqa: BLE001 - it will be met again where the batch is made ready in the ordinary way
            return None
        if rows is None:
            return None
        for table, kept in written.rows.items():
            rows.setdefault(table, {}).update({key: kept[key] for key in keys.get(table, ()) if key in kept})
        return events, Ready(batch, keys, rows)

    async def _load(self, group: Sequence[Segment], keys: Needed) -> Rows | None:
        """The rows of these keys, which the batch before this one doesn't touch."""
        async with self._database.connection() as connection:
            # The other connection may lead to another server, as after a failover: rows are new enough where the
            # checkpoint is.
            if not await self._segments.are_owned(connection, group):
                return None
            return await self._storage.load(connection, keys)


def _identities(group: Sequence[Segment]) -> list[tuple[int, int, int]]:
    return [(segment.first_hash, segment.last_hash, segment.epoch) for segment in group]


def _without(keys: Needed, known: Needed) -> Needed:
    """Those of the keys, by table, that aren't known."""
    return {table: {key: None for key in found if key not in known.get(table, ())} for table, found in keys.items()}

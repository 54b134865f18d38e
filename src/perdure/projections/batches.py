"""A batch of events: what it needs is loaded, folded in memory, and written in one transaction with the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from perdure.errors import DatabaseError
from perdure.events import StoredEvent
from perdure.projections.checkpoints import Checkpoint, Checkpoints
from perdure.projections.definition import Definition
from perdure.projections.fold import Failure, fold, needed, plan
from perdure.projections.storage import Storage
from perdure.stores.postgres.database import Database

_REFUSALS: Final = ("21", "22", "23", "44", "54", "P0")
"""Classes of SQLSTATE by which the database refuses what is written: cardinality, data, constraints, checks of views,
limits (as of an index entry), and what a trigger raises. Other errors are no fault of an event."""


class CheckpointMovedError(Exception):
    """Somebody else moved the checkpoint, or paused the projection. Nothing was written."""


class Taken(NamedTuple):
    """What became of a batch."""

    checkpoint: Checkpoint
    """Up to where it is written."""
    done: int
    """How many of its events that is."""
    failure: Failure | None
    """The event after those, when it failed."""


class Batches:
    """Takes the batches of one projection.

    Args:
        database: the database of the store.
        definition: the projection.
        checkpoints: its checkpoint.
        storage: its tables.
    """

    def __init__(self, database: Database, definition: Definition, checkpoints: Checkpoints, storage: Storage) -> None:
        self._database = database
        self._definition = definition
        self._checkpoints = checkpoints
        self._storage = storage

    async def take(self, checkpoint: Checkpoint, events: Sequence[StoredEvent]) -> Taken:
        """Fold events that follow a checkpoint, and write what comes before the first that fails, all or nothing.

        Raises:
            CheckpointMovedError: the checkpoint isn't where it was.
        """
        try:
            return await self._take(checkpoint, events)
        except DatabaseError as error:
            # The database refuses a value, as by a constraint that was added to the table: find out whose.
            if error.sqlstate[:2] not in _REFUSALS:
                raise
            if len(events) == 1:
                return Taken(checkpoint, 0, Failure(events[0], error))
            return await self.take(checkpoint, events[: len(events) // 2])

    async def _take(self, checkpoint: Checkpoint, events: Sequence[StoredEvent]) -> Taken:
        batch = plan(self._definition, events)
        async with self._database.connection() as connection:
            rows = await self._storage.load(connection, needed(self._definition, batch.steps))
            changes, failure = fold(self._definition, batch, rows)
            done = [one for one in events if failure is None or one.global_position < failure.stored.global_position]
            if done:
                async with connection.transaction():
                    # First of all, so that of two services that run the same projection one waits for the other here.
                    if not await self._checkpoints.advance(connection, checkpoint, done[-1]):
                        raise CheckpointMovedError
                    await self._storage.write(connection, changes)
                checkpoint = Checkpoint(done[-1].global_position, done[-1].event_id)
        return Taken(checkpoint, len(done), failure)

"""The log, searched for what was appended without its rows: before they were kept inline, or by other programs."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import DatabaseError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Following
from perdure.projections.engines.inline.definition import InlineDefinition
from perdure.projections.engines.inline.rows import EventFailedError, InlineRows
from perdure.projections.engines.table.processor import REFUSALS
from perdure.projections.state.failures import Failure
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Database


class InlineBatches:
    """Takes the batches of one build: folds the streams that are behind, and moves the checkpoint.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its checkpoint.
        rows: its rows.
    """

    def __init__(self, database: Database, definition: InlineDefinition, segments: Segments, rows: InlineRows) -> None:
        self._database = database
        self._prefix = f"{definition.category}-"
        self._segments = segments
        self._rows = rows

    async def take(
        self,
        group: Sequence[Segment],
        events: Sequence[StoredEvent],
        scope: Scope,
        then: Following | None = None,  # noqa: ARG002 - nothing is made ready ahead
    ) -> BatchResult:
        """Take events that follow the checkpoint. See `Engine`."""
        try:
            await self._take(group, events)
        except EventFailedError as error:
            failure = error.failure
        except DatabaseError as error:
            if error.sqlstate[:2] not in REFUSALS:
                raise
            if len(events) > 1:
                return await self.take(group, events[: len(events) // 2], scope)
            failure = Failure(events[0], error)
        else:
            return BatchResult(checkpoint_at(events[-1]), len(events), [], None)
        done = [stored for stored in events if stored.global_position < failure.stored.global_position]
        if not done:
            return BatchResult(group[0].checkpoint, 0, [], failure)
        taken = await self.take(group, done, scope)
        return taken._replace(failure=taken.failure or failure)

    async def _take(self, group: Sequence[Segment], events: Sequence[StoredEvent]) -> None:
        mine = [stored for stored in events if stored.stream_id.startswith(self._prefix)]
        versions = {stored.stream_id: stored.stream_version for stored in mine}
        async with self._database.connection() as connection, connection.transaction():
            # First of all the checkpoint, so that whoever runs it too waits here.
            await self._segments.advance(connection, group, checkpoint_at(events[-1]))
            behind = await self._rows.behind(connection, versions) if versions else []
            if behind:
                held = await self._rows.lock(connection, behind)
                missing = [stored for stored in mine if stored.stream_version > held.get(stored.stream_id, 2**63)]
                await self._rows.take(connection, missing)

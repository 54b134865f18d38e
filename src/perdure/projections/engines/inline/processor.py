"""Finds events of the log that were appended without their rows: earlier, or by programs without the projection."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import DatabaseError
from perdure.events import StoredEvent
from perdure.projections.engine import BatchResult, Engine
from perdure.projections.engines.inline.definition import InlineDefinition
from perdure.projections.engines.inline.rows import EventFailedError, InlineRows
from perdure.projections.engines.table.processor import REFUSALS
from perdure.projections.state.failures import Failure
from perdure.projections.state.parked_events import BlockedKeys
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Segment, Segments, checkpoint_at
from perdure.stores.postgres.connections.database import Database


class InlineProcessor(Engine):
    """The engine of inline projections, for one build: folds the streams that are behind, and moves the checkpoint.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: its only segment, with the checkpoint.
        rows: its rows.
    """

    def __init__(self, database: Database, definition: InlineDefinition, segments: Segments, rows: InlineRows) -> None:
        self._database = database
        self._prefix = f"{definition.category}-"
        self._segments = segments
        self._rows = rows

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Fold those events of the log that their streams' rows lack. See `Engine.process`."""
        try:
            await self._process(group, events)
        except EventFailedError as error:
            failure = error.failure
        except DatabaseError as error:
            if error.sqlstate[:2] not in REFUSALS:
                raise
            if len(events) > 1:
                return await self.process(group, events[: len(events) // 2], scope)
            failure = Failure(events[0], error)
        else:
            return BatchResult(checkpoint_at(events[-1]), len(events), [], None)
        done = [stored for stored in events if stored.global_position < failure.stored.global_position]
        if not done:
            return BatchResult(group[0].checkpoint, 0, [], failure)
        result = await self.process(group, done, scope)
        return result._replace(failure=result.failure or failure)

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Do nothing: an inline projection parks no events."""

    async def _process(self, group: Sequence[Segment], events: Sequence[StoredEvent]) -> None:
        mine = [stored for stored in events if stored.stream_id.startswith(self._prefix)]
        versions = {stored.stream_id: stored.stream_version for stored in mine}
        async with self._database.connection() as connection, connection.transaction():
            # The checkpoint first, so that another runner of the same build waits here.
            await self._segments.advance(connection, group, checkpoint_at(events[-1]))
            behind = await self._rows.behind(connection, versions) if versions else []
            if behind:
                held = await self._rows.lock(connection, behind)
                missing = [stored for stored in mine if stored.stream_version > held.get(stored.stream_id, 2**63)]
                await self._rows.take(connection, missing)

"""Finds where the first build of a projection begins: at the beginning, after a position, or now."""

from __future__ import annotations

from perdure.errors import InvalidArgumentError, ProjectionDefinitionError
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.state.segments import BEGINNING, Checkpoint, checkpoint_at
from perdure.store import EventStore
from perdure.subscription import find_start


async def find_first(store: EventStore, definition: ProjectionDefinition) -> Checkpoint:
    """Return the checkpoint of the first build. It skips no event that belongs to what the definition says.

    Now is the last event that the log can be read up to. Appends that are still open come after it, so their events
    are processed.

    Raises:
        ProjectionDefinitionError: the definition names a position beyond the end of the log.
        LogHeldBackError: the log can't be read up to that position, because of appends that are under way.
    """
    start = definition.start
    if start == 0:
        return BEGINNING
    if not isinstance(start, int):
        end = await find_start(store, start)
        return Checkpoint(end.position, end.event_id)
    try:
        found = await store.read_all_events(start - 1, 1, up_to=start)
    except InvalidArgumentError as error:
        raise ProjectionDefinitionError(
            definition.name,
            f"it begins after position {start}, which is beyond the end of the log: give it a position of this "
            "database's log, or start=NOW",
        ) from error
    is_there = bool(found) and found[0].global_position == start
    return checkpoint_at(found[0]) if is_there else Checkpoint(start, None)

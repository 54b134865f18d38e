"""Chooses the engine of a projection, and creates it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from perdure.errors import ProjectionDefinitionError
from perdure.follower import Follower
from perdure.projection import Projection
from perdure.projections.engine import BuildTables, Engine, EngineHost, NoTables, ProjectionDefinition
from perdure.projections.engines.custom.definition import CustomDefinition
from perdure.projections.engines.custom.processor import CustomProcessor
from perdure.projections.engines.custom.storage import CustomTables
from perdure.projections.engines.inline.definition import InlineDefinition
from perdure.projections.engines.inline.processor import InlineProcessor
from perdure.projections.engines.inline.rows import InlineRows
from perdure.projections.engines.reaction.courier import Courier
from perdure.projections.engines.reaction.definition import ReactionDefinition
from perdure.projections.engines.reaction.processor import ReactionProcessor
from perdure.projections.engines.reaction.relay_definition import RelayDefinition
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.segments import Segments
from perdure.reaction import Reaction
from perdure.relay import Relay
from perdure.stores.postgres.connections.database import Database

_TablesAndEngine = tuple[BuildTables, Engine]


def describe(projection: Follower, build: int = 1) -> ProjectionDefinition:
    """Return the definition of a projection or reaction.

    Raises:
        ProjectionDefinitionError: the projection can't work as it is written, or isn't a projection.
    """
    if isinstance(projection, Relay):
        return RelayDefinition(projection)
    if isinstance(projection, Reaction):
        return ReactionDefinition(projection)
    if isinstance(projection, Projection):
        return CustomDefinition(projection, build)
    return TableDefinition(projection, build)


def courier_of(follower: Follower) -> Courier | None:
    """Return the courier of a reaction or relay; None for a projection. Raises ReactionDefinitionError."""
    if isinstance(follower, Relay):
        return RelayDefinition(follower)
    return ReactionDefinition(follower) if isinstance(follower, Reaction) else None


def check_names(definitions: Sequence[ProjectionDefinition]) -> None:
    """Raise ProjectionDefinitionError if two projections have the same name, or two tables would."""
    projections = Counter(definition.name for definition in definitions)
    names = Counter(
        name for definition in definitions for table in definition.tables for name in (table.name, table.view)
    )
    for definition in definitions:
        for table in definition.tables:
            for name in (table.view, table.name):
                if names[name] > 1:
                    raise ProjectionDefinitionError(
                        definition.name, f"more than one table would have the name {name!r}"
                    )
        if projections[definition.name] > 1:
            raise ProjectionDefinitionError(definition.name, "more than one projection or reaction has this name")


def create_engine(
    database: Database,
    definition: ProjectionDefinition,
    segments: Segments,
    parked_events: ParkedEvents,
    options: RunnerOptions,
    *,
    host: EngineHost,
) -> _TablesAndEngine:
    """Create the tables and the engine of a build.

    Args:
        database: the database of the store.
        definition: the projection.
        segments: the segments of its build.
        parked_events: the parked events of its build.
        options: the options of the runner.
        host: what the engine may use of the runner.
    """
    return _ENGINES[type(definition)](database, definition, segments, parked_events, options, host=host)


def _table_engine(
    database: Database,
    definition: TableDefinition,
    segments: Segments,
    parked_events: ParkedEvents,
    options: RunnerOptions,
    **_host: EngineHost,
) -> _TablesAndEngine:
    storage = TableStorage(definition, options.schema)
    processor = TableProcessor(database, definition, segments, storage, parked_events, batch_size=options.batch_size)
    return storage, processor


def _custom_engine(
    database: Database,
    definition: CustomDefinition,
    segments: Segments,
    _parked_events: ParkedEvents,
    options: RunnerOptions,
    **_host: EngineHost,
) -> _TablesAndEngine:
    tables = CustomTables(definition, options.schema)
    processor = CustomProcessor(
        database, definition, segments, tables, lease=options.lease, timeout=options.handler_timeout
    )
    return tables, processor


def _inline_engine(
    database: Database,
    definition: InlineDefinition,
    segments: Segments,
    _parked_events: ParkedEvents,
    options: RunnerOptions,
    **_host: EngineHost,
) -> _TablesAndEngine:
    storage = TableStorage(definition, options.schema)
    processor = InlineProcessor(database, definition, segments, InlineRows(database, definition, storage))
    return storage, processor


def _reaction_engine(
    database: Database,
    definition: ReactionDefinition,
    segments: Segments,
    parked_events: ParkedEvents,
    options: RunnerOptions,
    *,
    host: EngineHost,
) -> _TablesAndEngine:
    processor = ReactionProcessor(
        database, definition, segments, parked_events, host, lease=options.lease, timeout=options.handler_timeout
    )
    return NoTables(), processor


_ENGINES: Final[dict[type, Callable[..., _TablesAndEngine]]] = {
    TableDefinition: _table_engine,
    CustomDefinition: _custom_engine,
    InlineDefinition: _inline_engine,
    ReactionDefinition: _reaction_engine,
    RelayDefinition: _reaction_engine,
}

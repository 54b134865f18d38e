"""The promise about read models, as a check: at its checkpoint, each equals a fresh fold of the log."""

from typing import Any, NamedTuple

import asyncpg

from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, fold, plan
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import LAST_HASH
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct


class Stored(NamedTuple):
    """What is stored of a build, in one snapshot, whoever writes meanwhile."""

    segments: list[asyncpg.Record]
    parked: list[asyncpg.Record]
    tables: dict[str, dict[Any, Any]]


async def stored_in(url: str, projection: TableProjection[Any], build: int = 1) -> Stored:
    """The segments, the parked events, and the rows of all tables by key."""
    connection = await asyncpg.connect(direct(url))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            which = "where name = $1 and version = $2 and build = $3"
            identity = (projection.name, projection.version, build)
            segments = await connection.fetch(f"select * from perdure.projection_segments {which}", *identity)
            parked = await connection.fetch(f"select * from perdure.parked_events {which}", *identity)
            tables = {}
            for table in TableDefinition(projection, build).tables:
                rows = await connection.fetch(f'select * from "{table.name}"')
                keys = [tuple(row[name] for name in table.key) for row in rows]
                tables[table.view] = {
                    (key[0] if len(key) == 1 else key): table.row(**dict(row))
                    for key, row in zip(keys, rows, strict=True)
                }
            return Stored(segments, parked, tables)
    finally:
        await connection.close()


async def tables_in(url: str, projection: TableProjection[Any]) -> tuple[int, dict[str, dict[Any, Any]]]:
    """The checkpoint, and the rows of all tables by key."""
    stored = await stored_in(url, projection)
    return min(segment["global_position"] for segment in stored.segments), stored.tables


async def check_against_fold(
    store: PostgreSQLEventStore, url: str, projection: TableProjection[Any], build: int = 1
) -> int:
    """Compare, segment by segment, each at its own checkpoint, and return the lowest.

    What is parked or skipped for a key doesn't reach it: the fold is made without.
    """
    stored = await stored_in(url, projection, build)
    events = await store.read_all_events()
    definition = TableDefinition(projection, build)
    table = definition.table
    assert sum(one["last_hash"] - one["first_hash"] + 1 for one in stored.segments) == LAST_HASH + 1
    for segment in stored.segments:
        within = Range(segment["first_hash"], segment["last_hash"])
        rows: Rows = {one.name: {} for one in definition.tables}
        parked = {(row["global_position"], row["key"]) for row in stored.parked}
        for event in events:
            if event.global_position > segment["global_position"] or (event.global_position, "") in parked:
                continue
            blocked = frozenset(table.decode_keys(key for position, key in parked if position == event.global_position))
            batch = plan(definition, [event], Scope(segments=[within], blocked=blocked))
            assert fold(definition, batch, rows).failure is None
        for one in definition.tables:
            expected = {key: one.codec.decode(row) for key, row in rows[one.name].items()}
            found = {(key if isinstance(key, tuple) else (key,)): row for key, row in stored.tables[one.view].items()}
            found = {key: row for key, row in found.items() if within.holds(table.hash_of(key[: len(table.key)]))}
            assert found == expected
    position: int = min(segment["global_position"] for segment in stored.segments)
    return position


class Range(NamedTuple):
    """The hashes of a segment."""

    first: int
    last: int

    def holds(self, key_hash: int) -> bool:
        """Whether it is in it."""
        return self.first <= key_hash <= self.last

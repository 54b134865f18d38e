"""`check_projection`: whether the rows of a projection are those of a fresh fold of the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from perdure.checks import check_count, check_instance
from perdure.errors import UnknownBuildError, UnsupportedOperationError
from perdure.log import LogFilter
from perdure.projection import TableProjection
from perdure.projections.builds.comparison import LONG, MOST_KEYS, each_row
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, fold, plan
from perdure.projections.engines.table.storage import statements_of
from perdure.projections.engines.table.table import Table
from perdure.projections.state.builds import Build, TableDifference, read_builds
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import LAST_HASH
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.store import PostgreSQLEventStore

_SQL: Final = Path(__file__).parent / "sql"
_PAGE: Final = 1000


class ProjectionCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What `check_projection` found.

    Attributes:
        name, version, build: What was checked.
        global_position: Up to where its rows show the log; the slowest segment counts.
        rows: How many rows were compared.
        differences: In what the rows differ from a fresh fold; none when all is well.
    """

    name: str
    version: int
    build: int
    global_position: int
    rows: int
    differences: tuple[TableDifference, ...]


class _Range(NamedTuple):
    """A piece of a segment, small enough to be folded in memory."""

    first: int
    last: int
    global_position: int

    def holds(self, key_hash: int) -> bool:
        return self.first <= key_hash <= self.last


async def check_projection(
    store: EventStore, projection: TableProjection[Any], *, build: int | None = None, max_rows: int = 200_000
) -> ProjectionCheck:
    """Fold the log anew, beside a projection that goes on, and compare the rows. What is parked or skipped is left out.

    Its memory is bounded: the keys are checked in as many passes over the log as it takes. All passes compare with the
    rows as they were when it began.

    Args:
        store: where the events are.
        projection: the projection, as its service runs it.
        build: which build of its version; unless given, the one that is shown, or the newest.
        max_rows: how many rows may be in memory at once, about.

    Raises:
        UnsupportedOperationError: the store has no database.
        UnknownBuildError: there is no such build.
        Exception: what a handler raises for an event that the projection took.

    Example:
        check = await check_projection(store, UserProfiles())
        assert not check.differences
    """
    check_instance("store", store, EventStore)
    check_instance("projection", projection, TableProjection)
    if not isinstance(store, PostgreSQLEventStore):
        raise UnsupportedOperationError(f"{type(store).__name__} keeps no projections: use a PostgreSQLEventStore")
    check_count("max_rows", max_rows, 1)
    if build is not None:
        check_count("build", build, 1)
    async with (
        store.database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        builds = await read_builds(connection, store.database, projection.name)
        chosen = _chosen(builds, projection, build)
        return await _Refold(store, connection, TableDefinition(projection, chosen.id.build), chosen.schema).check(
            max_rows
        )


def _chosen(builds: Sequence[Build], projection: TableProjection[Any], build: int | None) -> Build:
    found = [one for one in builds if one.id.version == projection.version and one.tables is not None]
    found = [one for one in found if build in (None, one.id.build)]
    if not found:
        raise UnknownBuildError(projection.name, projection.version, build, [one.id[1:] for one in builds])
    return next((one for one in found if one.is_shown), found[0])


class _Refold:
    """Compares a build with a fresh fold, in a snapshot."""

    def __init__(
        self, store: PostgreSQLEventStore, connection: Connection, definition: TableDefinition, schema: str
    ) -> None:
        self._store = store
        self._connection = connection
        self._definition = definition
        self._schema = schema
        self._segments_sql = Statements(_SQL / "segments", schema=store.database.quoted_schema)
        self._sql = Statements(_SQL / "comparison", schema=store.database.quoted_schema)

    async def check(self, max_rows: int) -> ProjectionCheck:
        build = self._definition.build
        segments = await self._connection.fetch(self._segments_sql["read"], *build)
        not_taken = await self._not_taken()
        count = 0
        for table in self._definition.tables:
            sql = statements_of(_SQL / "comparison", table, self._schema)["count_rows"]
            count += await self._connection.fetchval(sql, timeout=LONG)
        passes = min(-(-count // max_rows) or 1, LAST_HASH + 1)
        found = {table.name: _Found(table) for table in self._definition.tables}
        for number in range(passes):
            first = (LAST_HASH + 1) * number // passes
            last = (LAST_HASH + 1) * (number + 1) // passes - 1
            ranges = [
                _Range(max(first, one["first_hash"]), min(last, one["last_hash"]), one["global_position"])
                for one in segments
                if one["first_hash"] <= last and first <= one["last_hash"]
            ]
            await self._compare(ranges, await self._fold(ranges, not_taken), found)
        return ProjectionCheck(
            name=build.name,
            version=build.version,
            build=build.build,
            global_position=min(one["global_position"] for one in segments),
            rows=sum(one.rows for one in found.values()),
            differences=tuple(one.told() for one in found.values() if one.differing),
        )

    async def _not_taken(self) -> set[tuple[int, Key | None]]:
        decode = self._definition.table.decode_keys
        return {
            (row["global_position"], decode([row["key"]])[0] if row["key"] else None)
            for row in await self._connection.fetch(self._sql["not_taken"], *self._definition.build)
        }

    async def _fold(self, ranges: Sequence[_Range], not_taken: set[tuple[int, Key | None]]) -> Rows:
        """The rows of these ranges, each up to where its segment is."""
        rows: Rows = {table.name: {} for table in self._definition.tables}
        position, end = 0, max(one.global_position for one in ranges)
        while position < end:
            page = await self._store.log_page(position, _PAGE, LogFilter())
            position = page.position if page.events else end
            for upto in sorted({one.global_position for one in ranges}):
                scope = Scope(segments=[one for one in ranges if one.global_position == upto], skipped=not_taken)
                events = [stored for stored in page.events if stored.global_position <= upto]
                outcome = fold(self._definition, plan(self._definition, events, scope), rows)
                if outcome.failure is not None:
                    raise outcome.failure.error
        return rows

    async def _compare(self, ranges: Sequence[_Range], rows: Rows, found: dict[str, _Found]) -> None:
        width = len(self._definition.table.key)
        for table in self._definition.tables:
            expected, result = rows[table.name], found[table.name]
            result.expected_rows += len(expected)
            sql = statements_of(_SQL / "comparison", table, self._schema)["rows"]
            async for row in each_row(self._connection, sql):
                stored = table.codec.decode(row["one"].encode())
                key = table.key_of(stored)
                key_hash = self._definition.table.hash_of(key[:width])
                if any(one.holds(key_hash) for one in ranges):
                    result.rows += 1
                    fresh = expected.pop(key, None)
                    if fresh is None or table.codec.decode(fresh) != stored:
                        result.differs(key)
            for key in expected:
                result.differs(key)


class _Found:
    """What was found of a table."""

    def __init__(self, table: Table) -> None:
        self.rows = self.expected_rows = self.differing = 0
        self._table = table
        self._keys: list[str] = []

    def differs(self, key: Key) -> None:
        self.differing += 1
        if len(self._keys) < MOST_KEYS:
            self._keys.append(self._table.encode_key(key))

    def told(self) -> TableDifference:
        return TableDifference(
            table=self._table.view,
            rows=self.rows,
            expected_rows=self.expected_rows,
            differing=self.differing,
            keys=tuple(self._keys),
        )

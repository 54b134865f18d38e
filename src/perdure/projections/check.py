"""`check_projection`: compares the rows of a projection with a fresh fold of the log.

Three loops are nested, each for one reason:

- Passes: the fresh rows of all keys may not fit into memory. Each pass reads the whole log and all stored rows,
  but folds and compares only the keys of one slice of the hashes: about `max_rows` rows are in memory.
- Ranges: the segments of a build are at different positions, and each row must be folded up to the position of its
  segment. A range is the part of a segment that lies in the slice of the pass.
- Positions: ranges at the same position are folded together, so a page of the log is folded once per position, not once
  per range.

All passes compare with the rows of one snapshot, in which the positions were read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from perdure.checks import check_count, check_instance
from perdure.errors import UnknownBuildError
from perdure.log import LogFilter
from perdure.projection import TableProjection
from perdure.projections.builds.comparison import LONG, MOST_KEYS, each_row
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, fold, plan
from perdure.projections.engines.table.storage import table_statements
from perdure.projections.engines.table.table import Table
from perdure.projections.sql import statements
from perdure.projections.state.builds import Build, BuildRecords, TableDifference
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import LAST_HASH, read_segments
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database, database_of

_PAGE: Final = 1000


class ProjectionCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `check_projection`.

    Attributes:
        name, version, build: The build that was checked.
        global_position: Its rows include every event up to this position. The slowest segment counts.
        rows: How many rows were compared.
        differences: How the rows differ from a fresh fold; empty if they don't.
    """

    name: str
    version: int
    build: int
    global_position: int
    rows: int
    differences: tuple[TableDifference, ...]


class _Range(NamedTuple):
    """The part of a segment that one pass folds."""

    first: int
    last: int
    global_position: int

    def holds(self, key_hash: int) -> bool:
        return self.first <= key_hash <= self.last


async def check_projection(
    store: EventStore, projection: TableProjection[Any], *, build: int | None = None, max_rows: int = 200_000
) -> ProjectionCheck:
    """Fold the log again and compare the rows with those of a projection, which keeps running meanwhile.

    Parked and skipped events are left out. Memory is bounded: the check reads the log in as many passes as it needs.
    All passes compare with the rows as they were at the start.

    Args:
        store: the store of the events.
        projection: the projection, as its service runs it.
        build: the number of the build within the projection's version; by default the shown build, or else the newest.
        max_rows: about how many rows may be in memory at once.

    Returns:
        The compared build, and how its rows differ.

    Raises:
        UnsupportedOperationError: the store has no database.
        UnknownBuildError: there is no such build.
        Exception: what a handler raises for an event that the projection has processed.

    Example:
        check = await check_projection(store, UserProfiles())
        assert not check.differences
    """
    check_instance("store", store, EventStore)
    check_instance("projection", projection, TableProjection)
    database = database_of(store)
    check_count("max_rows", max_rows, 1)
    if build is not None:
        check_count("build", build, 1)
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        builds = await BuildRecords(database, projection.name).read(connection)
        chosen = _chosen(builds, projection, build)
        return await _Refold(
            store, database, connection, TableDefinition(projection, chosen.id.build), chosen.schema
        ).check(max_rows)


def _chosen(builds: Sequence[Build], projection: TableProjection[Any], build: int | None) -> Build:
    found = [each for each in builds if each.id.version == projection.version and each.tables is not None]
    found = [each for each in found if build in (None, each.id.build)]
    if not found:
        known = [(each.id.version, each.id.build) for each in builds]
        raise UnknownBuildError(projection.name, projection.version, build, known)
    return next((each for each in found if each.is_shown), found[0])


class _Refold:
    """Compares one build with a fresh fold, in one snapshot."""

    def __init__(
        self, store: EventStore, database: Database, connection: Connection, definition: TableDefinition, schema: str
    ) -> None:
        self._store = store
        self._segments_sql = statements("segments", schema=database.quoted_schema)
        self._connection = connection
        self._definition = definition
        self._schema = schema
        self._sql = statements("check", schema=database.quoted_schema)

    async def check(self, max_rows: int) -> ProjectionCheck:
        build = self._definition.build
        segments = await read_segments(self._connection, self._segments_sql, build)
        diverted = await self._read_diverted()
        passes = min(-(-await self._count_rows() // max_rows) or 1, LAST_HASH + 1)
        found = {table.name: _Comparison(table) for table in self._definition.tables}
        for number in range(passes):
            first = (LAST_HASH + 1) * number // passes
            last = (LAST_HASH + 1) * (number + 1) // passes - 1
            ranges = [
                _Range(max(first, segment.first_hash), min(last, segment.last_hash), segment.global_position)
                for segment in segments
                if segment.first_hash <= last and first <= segment.last_hash
            ]
            await self._compare(ranges, await self._fold(ranges, diverted), found)
        return ProjectionCheck(
            name=build.name,
            version=build.version,
            build=build.build,
            global_position=min(segment.global_position for segment in segments),
            rows=sum(each.rows for each in found.values()),
            differences=tuple(each.result() for each in found.values() if each.differing),
        )

    async def _count_rows(self) -> int:
        count = 0
        for table in self._definition.tables:
            sql = table_statements("check", table, self._schema)["count_rows"]
            count += await self._connection.fetchval(sql, timeout=LONG)
        return count

    async def _read_diverted(self) -> set[tuple[int, Key | None]]:
        decode = self._definition.table.decode_keys
        return {
            (row["global_position"], decode([row["key"]])[0] if row["key"] else None)
            for row in await self._connection.fetch(self._sql["parked"], *self._definition.build)
        }

    async def _fold(self, ranges: Sequence[_Range], diverted: set[tuple[int, Key | None]]) -> Rows:
        """Return the rows of these ranges, each folded up to the position of its segment."""
        rows: Rows = {table.name: {} for table in self._definition.tables}
        position, end = 0, max(each.global_position for each in ranges)
        while position < end:
            page = await self._store.log_page(position, _PAGE, LogFilter())
            position = page.position if page.events else end
            for upto in sorted({each.global_position for each in ranges}):
                scope = Scope(segments=[each for each in ranges if each.global_position == upto], skipped=diverted)
                events = [stored for stored in page.events if stored.global_position <= upto]
                outcome = fold(self._definition, plan(self._definition, events, scope), rows)
                if outcome.failure is not None:
                    raise outcome.failure.error
        return rows

    async def _compare(self, ranges: Sequence[_Range], rows: Rows, found: dict[str, _Comparison]) -> None:
        width = len(self._definition.table.key)
        for table in self._definition.tables:
            expected, result = rows[table.name], found[table.name]
            result.expected_rows += len(expected)
            sql = table_statements("check", table, self._schema)["rows"]
            async for row in each_row(self._connection, sql):
                stored = table.codec.decode(row["one"].encode())
                key = table.key_of(stored)
                key_hash = self._definition.table.hash_of(key[:width])
                if any(each.holds(key_hash) for each in ranges):
                    result.rows += 1
                    fresh = expected.pop(key, None)
                    if fresh is None or table.codec.decode(fresh) != stored:
                        result.add(key)
            for key in expected:
                result.add(key)


class _Comparison:
    """The comparison of one table, so far."""

    def __init__(self, table: Table) -> None:
        self.rows = self.expected_rows = self.differing = 0
        self._table = table
        self._keys: list[str] = []

    def add(self, key: Key) -> None:
        self.differing += 1
        if len(self._keys) < MOST_KEYS:
            self._keys.append(self._table.encode_key(key))

    def result(self) -> TableDifference:
        return TableDifference(
            table=self._table.view,
            rows=self.rows,
            expected_rows=self.expected_rows,
            differing=self.differing,
            keys=tuple(self._keys),
        )

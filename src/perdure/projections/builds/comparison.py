"""Compares the rows of two builds at the same position, in one snapshot, while both are kept up to date."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from perdure.projections.engine import NamedTable, ProjectionDefinition
from perdure.projections.engines.table.storage import table_statements
from perdure.projections.engines.table.table import Table
from perdure.projections.sql import statements
from perdure.projections.state.builds import TableDifference
from perdure.projections.state.holds import Holds
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import fill_in, quote_identifier

LONG: Final = 24 * 3600.0
"""Seconds that a statement over all rows may take."""
_HOLD_SECONDS: Final = 5.0
"""Seconds that two builds are held at most, until both are at the same position."""
MOST_KEYS: Final = 10
"""How many keys of differing rows are listed per table."""
_FETCH_SIZE: Final = 500
"""How many rows a cursor returns at once."""
_CURSOR: Final = statements("comparison", count=str(_FETCH_SIZE))


class NotComparableError(Exception):
    """Two builds can't be brought to the same position now."""


async def each_row(connection: Connection, sql: str) -> AsyncGenerator[asyncpg.Record]:
    """Yield the rows of a query through a cursor, in the caller's transaction."""
    await connection.execute(fill_in(_CURSOR["declare_rows"], query=sql), timeout=LONG)
    while rows := await connection.fetch(_CURSOR["next_rows"], timeout=LONG):
        for row in rows:
            yield row
    await connection.execute(_CURSOR["close_rows"])


class BuildComparison:
    """Compares a build with another of the same version.

    Args:
        database: the database of the store.
        one: the build to check.
        other: the build to compare it with.
        schema: the schema that holds their tables.
    """

    def __init__(self, database: Database, one: ProjectionDefinition, other: ProjectionDefinition, schema: str) -> None:
        self._database = database
        self._one, self._other = one, other
        self._schema = schema
        self._builds = (one.build, other.build)
        self._holds = Holds(database, one.name)
        self._sql = statements("comparison")

    async def differences(self) -> list[TableDifference]:
        """Return how the tables of the two builds differ; an empty list if they don't.

        Raises:
            NotComparableError: one build doesn't reach the position of the other: it is paused, slow, or not run.
        """
        async with self._at_one_position() as connection:
            found = [
                await self._compare(connection, one, other)
                for one, other in zip(self._one.tables, self._other.tables, strict=True)
            ]
        return [difference for difference in found if difference is not None]

    @asynccontextmanager
    async def _at_one_position(self) -> AsyncGenerator[Connection]:
        """Take a snapshot in which both builds are at the same position. Both continue as soon as it is taken."""
        async with (
            self._database.session() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            async with self._holds.held(self._builds, _HOLD_SECONDS) as position:
                if not await self._holds.reached(self._builds, position, _HOLD_SECONDS):
                    raise NotComparableError
                # The first statement takes the snapshot, so it must read the positions too.
                span = await self._holds.span(connection, self._builds)
            if not span.slowest == span.furthest == position:
                raise NotComparableError
            yield connection

    async def _compare(self, connection: Connection, one: NamedTable, other: NamedTable) -> TableDifference | None:
        left, right = await self._summary(connection, one), await self._summary(connection, other)
        if left == right:
            return None
        differing = 0
        keys: list[str] = []
        if isinstance(one, Table):
            async for key in self._differing(connection, one, other):
                differing += 1
                if len(keys) < MOST_KEYS:
                    keys.append(one.encode_key(key))
        else:
            names = {"table": self._qualified(one), "other": self._qualified(other)}
            differing = await connection.fetchval(fill_in(self._sql["count_differences"], **names), timeout=LONG)
        if not differing:
            return None
        return TableDifference(
            table=one.view, rows=left[0], expected_rows=right[0], differing=differing, keys=tuple(keys)
        )

    async def _summary(self, connection: Connection, table: NamedTable) -> tuple[int, str]:
        columns = [quote_identifier(column.name) for column in table.columns] if isinstance(table, Table) else []
        names = {"table": self._qualified(table), "row": f"row({', '.join(columns)})" if columns else "t.*"}
        row = await connection.fetchrow(fill_in(self._sql["summary"], **names), timeout=LONG)
        assert row is not None  # noqa: S101 - an aggregate has one
        return row["count"], row["checksum"]

    async def _differing(self, connection: Connection, one: Table, other: NamedTable) -> AsyncGenerator[Any]:
        """Yield the keys of the rows that differ as Python objects: the order of a set is irrelevant."""
        sql = table_statements("comparison", one, self._schema, other=self._qualified(other))["differences"]
        async for row in each_row(connection, sql):
            left, right = (
                None if row[side] is None else one.codec.decode(row[side].encode()) for side in ("one", "other")
            )
            if left != right:
                yield one.key_of(right if left is None else left)

    def _qualified(self, table: NamedTable) -> str:
        return f"{quote_identifier(self._schema)}.{quote_identifier(table.name)}"

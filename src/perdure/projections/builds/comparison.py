"""Whether two builds hold the same rows: compared at one position, in one snapshot, while both go on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from perdure.projections.engine import NamedTable, ProjectionDefinition
from perdure.projections.engines.table.storage import statements_of
from perdure.projections.engines.table.table import Table
from perdure.projections.state.builds import TableDifference
from perdure.projections.state.holds import Holds
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "comparison"
LONG: Final = 24 * 3600.0
"""Seconds that a statement over all rows may take."""
_PATIENCE: Final = 5.0
"""Seconds that two builds are held at most, until both are at one position."""
MOST_KEYS: Final = 10
_PORTION: Final = 500
_PORTIONS: Final = Statements(_FOLDER, count=str(_PORTION))


class NotComparableError(Exception):
    """Two builds can't be brought to one position now."""


async def each_row(connection: Connection, sql: str) -> AsyncGenerator[asyncpg.Record]:
    """The rows of a query, however many, within a transaction."""
    await connection.execute(fill_in(_PORTIONS["declare_rows"], query=sql), timeout=LONG)
    while rows := await connection.fetch(_PORTIONS["next_rows"], timeout=LONG):
        for row in rows:
            yield row
    await connection.execute(_PORTIONS["close_rows"])


class BuildComparison:
    """Compares a build with another of the same version.

    Args:
        database: the database of the store.
        one: the build that is checked.
        other: the build that it is compared with.
        schema: the schema that holds their tables.
    """

    def __init__(self, database: Database, one: ProjectionDefinition, other: ProjectionDefinition, schema: str) -> None:
        self._database = database
        self._one, self._other = one, other
        self._schema = schema
        self._builds = (one.build, other.build)
        self._holds = Holds(database, one.name)
        self._sql = Statements(_FOLDER)

    async def differences(self) -> list[TableDifference]:
        """In which tables they differ.

        Raises:
            NotComparableError: one doesn't come to where the other is: it is paused, or slow, or nobody runs it.
        """
        async with self._at_one_position() as connection:
            found = [
                await self._compare(connection, one, other)
                for one, other in zip(self._one.tables, self._other.tables, strict=True)
            ]
        return [difference for difference in found if difference is not None]

    @asynccontextmanager
    async def _at_one_position(self) -> AsyncGenerator[Connection]:
        """A snapshot in which both builds show the same log. They go on as soon as it is taken."""
        async with (
            self._database.session() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            async with self._holds.held(self._builds, _PATIENCE) as position:
                if not await self._holds.reached(self._builds, position, _PATIENCE):
                    raise NotComparableError
                # The first statement takes the snapshot; what it shows is what counts.
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
        names = {"table": self._qualified(table), "row": f"row({', '.join(columns)})" if columns else "t"}
        row = await connection.fetchrow(fill_in(self._sql["summary"], **names), timeout=LONG)
        assert row is not None  # noqa: S101 - an aggregate has one
        return row["count"], row["checksum"]

    async def _differing(self, connection: Connection, one: Table, other: NamedTable) -> AsyncGenerator[Any]:
        """The keys of the rows that differ as Python sees them: the order of a set doesn't count."""
        sql = statements_of(_FOLDER, one, self._schema, other=self._qualified(other))["differences"]
        async for row in each_row(connection, sql):
            left, right = (
                None if row[side] is None else one.codec.decode(row[side].encode()) for side in ("one", "other")
            )
            if left != right:
                yield one.key_of(right if left is None else left)

    def _qualified(self, table: NamedTable) -> str:
        return f"{quote_identifier(self._schema)}.{quote_identifier(table.name)}"


def encoded(differences: Sequence[TableDifference]) -> str | None:
    """The differences as they are kept; None for none."""
    return msgspec.json.encode(differences).decode() if differences else None

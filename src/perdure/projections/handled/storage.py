"""The tables that a projection makes by SQL of its own, and the views that show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from perdure.errors import ProjectionDefinitionError
from perdure.projections.handled.definition import HandledDefinition, SQLTable
from perdure.projections.tables import TableShape
from perdure.stores.postgres.database import Connection
from perdure.stores.postgres.failures import CONNECTION_LOST
from perdure.stores.postgres.statements import Statements, fill_in, quote_identifier

_SQL: Final = Path(__file__).parents[1] / "sql"
_MOST_KEPT: Final = 1000
"""Statements: they are few, unless somebody writes values into them."""


class SQLTables:
    """The tables of one projection.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: HandledDefinition, schema: str) -> None:
        self._definition = definition
        self._namespace = quote_identifier(schema)
        self._names = {table.view: self._qualified(table.name) for table in definition.tables}
        self._filled: dict[str, str] = {}
        self._sql = Statements(_SQL / "table", namespace=self._namespace)
        self._create_view = Statements(_SQL / "handled")["create_view"]

    def fill(self, sql: str) -> str:
        """The statement with the tables' own names in place of ``{views_per_day}``."""
        filled = self._filled.get(sql)
        if filled is None:
            if len(self._filled) >= _MOST_KEPT:
                self._filled.clear()
            filled = self._filled[sql] = fill_in(sql, **self._names)
        return filled

    async def create(self, connection: Connection) -> None:
        """Make the tables, within the caller's transaction.

        Raises:
            ProjectionDefinitionError: their SQL doesn't do so, or something of that name is there already.
        """
        if not self._definition.tables:
            return
        if not await connection.fetchval(self._sql["namespace_exists"], self._namespace):
            await connection.execute(self._sql["create_namespace"])
        for table in self._definition.tables:
            await self._run(connection, table, self.fill(table.sql), table.name)

    async def show(self, connection: Connection, instead_of: Sequence[TableShape] = ()) -> None:
        """Let the views show these tables, instead of those of an older version, within the caller's transaction.

        Raises:
            ProjectionDefinitionError: something of that name is there already.
        """
        for old in instead_of:
            await connection.execute(fill_in(self._sql["drop_view"], view=self._qualified(old.view)))
        for table in self._definition.tables:
            names = {"view": self._qualified(table.view), "table": self._qualified(table.name)}
            await self._run(connection, table, fill_in(self._create_view, **names), table.view)

    async def _run(self, connection: Connection, table: SQLTable, sql: str, name: str) -> None:
        try:
            await connection.execute(sql)
        except asyncpg.DuplicateTableError as error:
            raise self._definition.refuse(
                f"{name!r} is there already in schema {self._namespace}, but isn't this projection's: "
                "drop it, or give the table another name"
            ) from error
        except asyncpg.PostgresError as error:
            if isinstance(error, CONNECTION_LOST):
                raise
            raise ProjectionDefinitionError(
                self._definition.name, f"table {table.view!r} can't be made: {error}"
            ) from error

    def _qualified(self, name: str) -> str:
        return f"{self._namespace}.{quote_identifier(name)}"

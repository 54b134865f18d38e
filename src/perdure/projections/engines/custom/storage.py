"""The tables that a projection makes by SQL of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncpg

from perdure.errors import ProjectionDefinitionError
from perdure.projections.engine import taken
from perdure.projections.engines.custom.definition import CustomDefinition, CustomTable
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.driver_errors import CONNECTION_LOST
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_SQL: Final = Path(__file__).parents[2] / "sql"
_MOST_KEPT: Final = 1000
"""Statements: they are few, unless somebody writes values into them."""


class CustomTables:
    """The tables of one projection.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: CustomDefinition, schema: str) -> None:
        self._definition = definition
        self._namespace = quote_identifier(schema)
        self._names = {table.view: self._qualified(table.name) for table in definition.tables}
        self._filled: dict[str, str] = {}
        self._sql = Statements(_SQL / "table", namespace=self._namespace)

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
            await self._make(connection, table)

    async def _make(self, connection: Connection, table: CustomTable) -> None:
        try:
            await connection.execute(self.fill(table.sql))
        except asyncpg.DuplicateTableError as error:
            raise taken(self._definition.name, table.name, self._namespace) from error
        except asyncpg.PostgresError as error:
            if isinstance(error, CONNECTION_LOST):
                raise
            raise ProjectionDefinitionError(
                self._definition.name, f"table {table.view!r} can't be made: {error}"
            ) from error

    def _qualified(self, name: str) -> str:
        return f"{self._namespace}.{quote_identifier(name)}"

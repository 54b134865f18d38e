"""The tables that a projection creates by its own SQL."""

from __future__ import annotations

from typing import Final

import asyncpg

from perdure.errors import ProjectionDefinitionError
from perdure.projections.engine import refusing_taken
from perdure.projections.engines.custom.definition import CustomDefinition, CustomTable
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.driver_errors import CONNECTION_LOST
from perdure.stores.postgres.sql_files import fill_in, quote_identifier

_MOST_CACHED: Final = 1000
"""Statements. A projection has few, unless its handlers write values into the SQL."""


class CustomTables:
    """The tables of one build.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: CustomDefinition, schema: str) -> None:
        self._definition = definition
        self._namespace = quote_identifier(schema)
        self._names = {table.view: f"{self._namespace}.{quote_identifier(table.name)}" for table in definition.tables}
        self._filled: dict[str, str] = {}

    def fill(self, sql: str) -> str:
        """Return the statement with the tables' own names in place of ``{views_per_day}``."""
        filled = self._filled.get(sql)
        if filled is None:
            if len(self._filled) >= _MOST_CACHED:
                self._filled.clear()
            filled = self._filled[sql] = fill_in(sql, **self._names)
        return filled

    async def create(self, connection: Connection) -> None:
        """Create the tables, in the caller's transaction.

        Raises:
            ProjectionDefinitionError: their SQL fails, or another relation has the name of a table.
        """
        for table in self._definition.tables:
            await self._create(connection, table)

    async def _create(self, connection: Connection, table: CustomTable) -> None:
        name = self._definition.name
        try:
            with refusing_taken(name, table.name, self._namespace):
                await connection.execute(self.fill(table.sql))
        except asyncpg.PostgresError as error:
            if isinstance(error, CONNECTION_LOST):
                raise
            raise ProjectionDefinitionError(name, f"table {table.view!r} can't be created: {error}") from error

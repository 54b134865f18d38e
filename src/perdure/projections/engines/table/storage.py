"""The tables of a projection in the database: made, read and written, a statement per table and batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from perdure.projections.engine import taken
from perdure.projections.engines.table.columns import TableColumn
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Needed, RowChanges, Rows
from perdure.projections.engines.table.table import Table
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_FOLDER: Final = Path(__file__).parents[2] / "sql" / "table"
_TIMESTAMP: Final = (_FOLDER / "loaded_timestamptz.sql").read_text("utf-8")


class TableStorage:
    """The tables of one projection.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: TableDefinition, schema: str) -> None:
        self._definition = definition
        self._namespace = quote_identifier(schema)
        parent_key = definition.table.key
        self._sql = {table.name: statements_of(_FOLDER, table, schema, parent_key) for table in definition.tables}

    async def create(self, connection: Connection) -> None:
        """Make the tables, within the caller's transaction.

        Raises:
            ProjectionDefinitionError: something of that name is there already.
        """
        statements = self._sql[self._definition.table.name]
        if not await connection.fetchval(statements["namespace_exists"], self._namespace):
            await connection.execute(statements["create_namespace"])
        for table in self._definition.tables:
            await self._make(connection, table)

    async def _make(self, connection: Connection, table: Table) -> None:
        try:
            await connection.execute(self._sql[table.name]["create_table"])
        except asyncpg.DuplicateTableError as error:
            raise taken(self._definition.name, table.name, self._namespace) from error

    async def load(self, connection: Connection, needed: Needed) -> Rows:
        """The rows of these keys, by table."""
        rows: Rows = {}
        for table in self._definition.tables:
            if keys := needed.get(table.name):
                document = await connection.fetchval(self._sql[table.name]["load"], table.encode_keys(keys).decode())
                rows[table.name] = table.rows_by_key(document)
        return rows

    async def write(self, connection: Connection, changes: RowChanges) -> None:
        """Write what a fold changed, within the caller's transaction."""
        for table in self._definition.tables:
            sql = self._sql[table.name]
            if orphaned := changes.orphaned.get(table.name):
                parents = self._definition.table.encode_keys(orphaned).decode()
                await connection.execute(sql["delete_children"], parents)
            if deleted := changes.deleted.get(table.name):
                await connection.execute(sql["delete"], table.encode_keys(deleted).decode())
            if written := changes.written.get(table.name):
                await connection.execute(sql["upsert"], _listing(written.values()))


def statements_of(folder: Path, table: Table, schema: str, parent_key: Sequence[str] = (), **more: str) -> Statements:
    """The statements of a folder for one table."""
    names, namespace = [column.name for column in table.columns], quote_identifier(schema)
    return Statements(
        folder,
        namespace=namespace,
        table=f"{namespace}.{quote_identifier(table.name)}",
        definitions=", ".join(_definition(column, is_key=column.name in table.key) for column in table.columns),
        columns=_listed(names),
        excluded=_listed(names, "excluded."),
        loaded=", ".join(_loaded(column) for column in table.columns),
        key=_listed(table.key),
        t_key=_listed(table.key, "t."),
        asked_key=_listed(table.key, "asked."),
        t_parent_key=_listed(parent_key, "t."),
        asked_parent_key=_listed(parent_key, "asked."),
        **more,
    )


def _listed(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + quote_identifier(name) for name in names)


def _definition(column: TableColumn, *, is_key: bool) -> str:
    # Bytewise: faster to compare, and an index that no update of the system's collations can break.
    collation = ' collate "C"' if is_key and column.sql_type == "text" else ""
    return f"{quote_identifier(column.name)} {column.sql_type}{collation}{'' if column.nullable else ' not null'}"


def _loaded(column: TableColumn) -> str:
    name = quote_identifier(column.name)
    return fill_in(_TIMESTAMP, column=name) if column.sql_type == "timestamptz" else f"t.{name}"


def _listing(rows: Iterable[bytes]) -> str:
    return f"[{b','.join(rows).decode()}]"

"""The tables of a projection in the database: one statement per table and batch reads or writes their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from perdure.projections.engine import refusing_taken
from perdure.projections.engines.table.columns import TableColumn
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Needed, RowChanges, Rows
from perdure.projections.engines.table.table import Table
from perdure.projections.sql import statements
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_TIMESTAMP: Final = statements("table")["loaded_timestamptz"]


class TableStorage:
    """The tables of one build.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: TableDefinition, schema: str) -> None:
        self._definition = definition
        self._schema = schema
        self._namespace = quote_identifier(schema)
        parent_key = definition.table.key
        self._sql = {table.name: table_statements("table", table, schema, parent_key) for table in definition.tables}

    async def create(self, connection: Connection) -> None:
        """Create the tables, in the caller's transaction.

        Raises:
            ProjectionDefinitionError: another relation has the name of a table.
        """
        for table in self._definition.tables:
            with refusing_taken(self._definition.name, table.name, self._namespace):
                await connection.execute(self._sql[table.name]["create_table"])

    def statements(self, folder: str, **names: str) -> dict[str, Statements]:
        """Return the statements of a folder for each table, by its name."""
        return {table.name: table_statements(folder, table, self._schema, **names) for table in self._definition.tables}

    async def load(self, connection: Connection, needed: Needed) -> Rows:
        """Return the rows of these keys, by table."""
        rows: Rows = {}
        for table in self._definition.tables:
            if keys := needed.get(table.name):
                document = await connection.fetchval(self._sql[table.name]["load"], table.encode_keys(keys).decode())
                rows[table.name] = table.rows_by_key(document)
        return rows

    async def write(self, connection: Connection, changes: RowChanges) -> None:
        """Write what a fold changed, in the caller's transaction."""
        for table in self._definition.tables:
            sql = self._sql[table.name]
            if orphaned := changes.orphaned.get(table.name):
                parents = self._definition.table.encode_keys(orphaned).decode()
                await connection.execute(sql["delete_children"], parents)
            if deleted := changes.deleted.get(table.name):
                await connection.execute(sql["delete"], table.encode_keys(deleted).decode())
            if written := changes.written.get(table.name):
                await connection.execute(sql["upsert"], _json_list(written.values()))


def upserted(changes: RowChanges) -> dict[str, str] | None:
    """Return the rows to insert or replace as JSON, by table; None if others are to be deleted."""
    if any(changes.orphaned.values()) or any(changes.deleted.values()):
        return None
    return {name: _json_list(rows.values()) for name, rows in changes.written.items() if rows}


def table_statements(
    folder: str, table: Table, schema: str, parent_key: Sequence[str] = (), **names: str
) -> Statements:
    """Return the statements of a folder, for one table.

    Args:
        folder: the folder's name.
        table: the table.
        schema: the schema that holds it.
        parent_key: the key of the parent's table, for a child table.
        names: further quoted identifiers that the statements name.
    """
    columns = [column.name for column in table.columns]
    return statements(
        folder,
        table=f"{quote_identifier(schema)}.{quote_identifier(table.name)}",
        definitions=", ".join(_definition(column, is_key=column.name in table.key) for column in table.columns),
        columns=_listed(columns),
        excluded=_listed(columns, "excluded."),
        loaded=", ".join(_loaded(column) for column in table.columns),
        key=_listed(table.key),
        t_key=_listed(table.key, "t."),
        asked_key=_listed(table.key, "asked."),
        t_parent_key=_listed(parent_key, "t."),
        asked_parent_key=_listed(parent_key, "asked."),
        **names,
    )


def _listed(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + quote_identifier(name) for name in names)


def _definition(column: TableColumn, *, is_key: bool) -> str:
    # Bytewise: faster to compare, and an update of the system's collations can't break the index.
    collation = ' collate "C"' if is_key and column.sql_type == "text" else ""
    return f"{quote_identifier(column.name)} {column.sql_type}{collation}{'' if column.nullable else ' not null'}"


def _loaded(column: TableColumn) -> str:
    name = quote_identifier(column.name)
    return fill_in(_TIMESTAMP, column=name) if column.sql_type == "timestamptz" else f"t.{name}"


def _json_list(rows: Iterable[bytes]) -> str:
    return f"[{b','.join(rows).decode()}]"

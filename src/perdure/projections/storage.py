"""The tables of a projection in the database: made, shown, read and written, a statement per table and batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from perdure.errors import ProjectionDefinitionError
from perdure.projections.columns import Column
from perdure.projections.definition import Definition
from perdure.projections.fold import Changes, Rows
from perdure.projections.tables import Key, Table, TableShape
from perdure.stores.postgres.database import Connection
from perdure.stores.postgres.statements import Statements, fill_in, quote_identifier

_FOLDER: Final = Path(__file__).parent / "sql" / "table"
_TIMESTAMP: Final = (_FOLDER / "loaded_timestamptz.sql").read_text("utf-8")
_DROP_VIEW: Final = (_FOLDER / "drop_view.sql").read_text("utf-8")


class Storage:
    """The tables of one projection.

    Args:
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, definition: Definition, schema: str) -> None:
        self._definition = definition
        self._namespace = quote_identifier(schema)
        parent_key = definition.table.key
        self._sql = {table.name: _statements(table, self._namespace, parent_key) for table in definition.tables}

    async def create(self, connection: Connection) -> None:
        """Make the tables, within the caller's transaction.

        Raises:
            ProjectionDefinitionError: something of that name is there already.
        """
        statements = self._sql[self._definition.table.name]
        if not await connection.fetchval(statements["namespace_exists"], self._namespace):
            await connection.execute(statements["create_namespace"])
        for table in self._definition.tables:
            await self._make(connection, table, "create_table", table.name)

    async def show(self, connection: Connection, instead_of: Sequence[TableShape] = ()) -> None:
        """Let the views show these tables, instead of those of an older version, within the caller's transaction.

        Raises:
            ProjectionDefinitionError: something of that name is there already.
        """
        for old in instead_of:
            view = f"{self._namespace}.{quote_identifier(old.view)}"
            await connection.execute(fill_in(_DROP_VIEW, view=view))
        for table in self._definition.tables:
            await self._make(connection, table, "create_view", table.view)

    async def _make(self, connection: Connection, table: Table, statement: str, name: str) -> None:
        try:
            await connection.execute(self._sql[table.name][statement])
        except asyncpg.DuplicateTableError as error:
            raise ProjectionDefinitionError(
                self._definition.name,
                f"{name!r} is there already in schema {self._namespace}, but isn't this projection's: "
                "drop it, or give the projection another table",
            ) from error

    async def load(self, connection: Connection, needed: Mapping[str, Sequence[Key]]) -> Rows:
        """The rows of these keys, by table."""
        rows: Rows = {}
        for table in self._definition.tables:
            if keys := needed.get(table.name):
                document = await connection.fetchval(self._sql[table.name]["load"], table.encode_keys(keys).decode())
                rows[table.name] = table.rows_by_key(document)
        return rows

    async def write(self, connection: Connection, changes: Changes) -> None:
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


def _statements(table: Table, namespace: str, parent_key: Sequence[str]) -> Statements:
    names = [column.name for column in table.columns]
    return Statements(
        _FOLDER,
        namespace=namespace,
        table=f"{namespace}.{quote_identifier(table.name)}",
        view=f"{namespace}.{quote_identifier(table.view)}",
        definitions=", ".join(_definition(column, is_key=column.name in table.key) for column in table.columns),
        columns=_listed(names),
        excluded=_listed(names, "excluded."),
        loaded=", ".join(_loaded(column) for column in table.columns),
        key=_listed(table.key),
        t_key=_listed(table.key, "t."),
        asked_key=_listed(table.key, "asked."),
        t_parent_key=_listed(parent_key, "t."),
        asked_parent_key=_listed(parent_key, "asked."),
    )


def _listed(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + quote_identifier(name) for name in names)


def _definition(column: Column, *, is_key: bool) -> str:
    # Bytewise: faster to compare, and an index that no update of the system's collations can break.
    collation = ' collate "C"' if is_key and column.sql_type == "text" else ""
    return f"{quote_identifier(column.name)} {column.sql_type}{collation}{'' if column.nullable else ' not null'}"


def _loaded(column: Column) -> str:
    name = quote_identifier(column.name)
    return fill_in(_TIMESTAMP, column=name) if column.sql_type == "timestamptz" else f"t.{name}"


def _listing(rows: Iterable[bytes]) -> str:
    return f"[{b','.join(rows).decode()}]"

"""The views under which users query a projection: created, and moved to other tables with their rights and comments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from perdure.errors import ProjectionDefinitionError, ViewInUseError
from perdure.projections.engine import refusing_taken
from perdure.projections.sql import statements
from perdure.projections.state.identity import TableShape
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import fill_in, quote_identifier


class Views:
    """The views and tables of one projection, in all its builds. It doesn't need the projection's code.

    Args:
        database: the database of the store.
        name: the projection's name.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._name = name
        self._sql = statements("views", schema=database.quoted_schema)

    async def show(
        self, connection: Connection, schema: str, tables: Sequence[TableShape], instead_of: Sequence[TableShape] = ()
    ) -> None:
        """Make the views show these tables instead of others, in the caller's transaction.

        A view is replaced in place if its columns stay the same, or if columns are added at the end: whatever is built
        on it keeps working. Any other view is dropped and created again, with its owner, rights, options and comments.

        Raises:
            ProjectionDefinitionError: another relation has the name of a view.
            ViewInUseError: something is built on a view that would have to be dropped.
        """
        before = {table.view: table for table in instead_of}
        dependents: dict[str, list[str]] = {}
        for view in before.keys() - {table.view for table in tables}:
            if (old := await self._find(connection, schema, view)) is not None:
                dependents[view] = await self._drop(connection, old, _qualified(schema, view))
        for table in tables:
            old_table = before.get(table.view)
            old = None if old_table is None else await self._find(connection, schema, table.view)
            if old is None:
                await self._create(connection, schema, table, ())
            else:
                dependents[table.view] = await self._replace(connection, schema, table, old)
            if old_table is not None:
                await self._copy_rights(connection, schema, old_table.table, table.table)
        if in_the_way := {view: found for view, found in dependents.items() if found}:
            raise ViewInUseError(self._name, in_the_way)

    async def drop_tables(self, connection: Connection, schema: str, tables: Sequence[TableShape]) -> None:
        """Drop tables that no view of the projection shows, in the caller's transaction.

        Raises:
            ViewInUseError: something is built on a table.
        """
        oids: dict[str, int] = {}
        for table in tables:
            if (found := await self._find(connection, schema, table.table)) is not None:
                oids[table.table] = found["oid"]
        dependents = {name: await self._dependents(connection, oid, *oids.values()) for name, oid in oids.items()}
        if in_the_way := {name: found for name, found in dependents.items() if found}:
            raise ViewInUseError(self._name, in_the_way)
        if oids:
            names = ", ".join(_qualified(schema, name) for name in oids)
            await connection.execute(fill_in(self._sql["drop_tables"], tables=names))

    async def _create(self, connection: Connection, schema: str, table: TableShape, options: Sequence[str]) -> None:
        try:
            with refusing_taken(self._name, table.view, schema):
                await connection.execute(self._definition("create", schema, table, options))
        except asyncpg.UndefinedTableError as error:
            # The user's SQL created another table, or none.
            raise ProjectionDefinitionError(self._name, f"table {table.view!r} can't be created: {error}") from error

    async def _replace(self, connection: Connection, schema: str, table: TableShape, old: Any) -> list[str]:
        """Replace a view. Return what is built on it, if that prevents the replacement."""
        try:
            async with connection.transaction():
                await connection.execute(self._definition("replace", schema, table, old["reloptions"] or ()))
                return []
        except asyncpg.InvalidTableDefinitionError:
            # Its columns change, so the view must be created again.
            if dependents := await self._dependents(connection, old["oid"]):
                return dependents
        aside = f"perdure_{old['oid']}"
        view = _qualified(schema, table.view)
        await connection.execute(fill_in(self._sql["rename"], view=view, name=aside))
        await self._create(connection, schema, table, old["reloptions"] or ())
        await self._copy_rights(connection, schema, aside, table.view)
        return await self._drop(connection, old, _qualified(schema, aside))

    async def _drop(self, connection: Connection, old: Any, view: str) -> list[str]:
        """Drop a view. Return what is built on it, if that prevents it."""
        if not (dependents := await self._dependents(connection, old["oid"])):
            await connection.execute(fill_in(self._sql["drop"], view=view))
        return dependents

    async def _copy_rights(self, connection: Connection, schema: str, one: str, other: str) -> None:
        old, new = await self._find(connection, schema, one), await self._find(connection, schema, other)
        if old is None or new is None:
            return
        for row in await connection.fetch(self._sql["copy_rights"], old["oid"], new["oid"]):
            await connection.execute(row["statement"])

    async def _find(self, connection: Connection, schema: str, name: str) -> Any:
        return await connection.fetchrow(self._sql["find"], quote_identifier(schema), name)

    async def _dependents(self, connection: Connection, oid: int, *together: int) -> list[str]:
        rows = await connection.fetch(self._sql["dependents"], oid, list(together) or [oid])
        return [row["described"] for row in rows]

    def _definition(self, statement: str, schema: str, table: TableShape, options: Sequence[str]) -> str:
        return fill_in(
            self._sql[statement],
            view=_qualified(schema, table.view),
            table=_qualified(schema, table.table),
            # If the user's SQL created the table, only the database knows its columns.
            columns=", ".join(map(quote_identifier, table.columns)) if table.key else "*",
            options=f"with ({', '.join(options)})" if options else "",
        )


def _qualified(schema: str, name: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"

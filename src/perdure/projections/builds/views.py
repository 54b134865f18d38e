"""The views by which people query a projection: made, put on other tables, and what hangs on them carried over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from perdure.errors import ProjectionDefinitionError, ViewInUseError
from perdure.projections.engine import taken
from perdure.projections.state.identity import TableShape
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_SQL: Final = Path(__file__).parents[1] / "sql"


class Views:
    """The views and tables of one projection, in whichever build. Needs no code of it.

    Args:
        database: the database of the store.
        name: the projection's.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._name = name
        self._sql = Statements(_SQL / "views", schema=database.quoted_schema)
        self._drop_tables = Statements(_SQL / "builds", schema=database.quoted_schema)["drop_tables"]

    async def show(
        self, connection: Connection, schema: str, tables: Sequence[TableShape], instead_of: Sequence[TableShape] = ()
    ) -> None:
        """Let the views show these tables instead of others, within the caller's transaction.

        A view whose columns stay, or get more at the end, stays the same for all who build on it. Any other is made
        anew, with the owner, the rights, the options and the comments of the old one.

        Raises:
            ProjectionDefinitionError: something of that name is there already.
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
                await self._carry_over(connection, schema, old_table.table, table.table)
        if in_the_way := {view: found for view, found in dependents.items() if found}:
            raise ViewInUseError(self._name, in_the_way)

    async def drop_tables(self, connection: Connection, schema: str, tables: Sequence[TableShape]) -> None:
        """Drop tables that no view of ours shows, within the caller's transaction.

        Raises:
            ViewInUseError: something is built on one.
        """
        oids: dict[str, int] = {}
        for table in tables:
            if (found := await self._find(connection, schema, table.table)) is not None:
                oids[table.table] = found["oid"]
        dependents = {name: await self._dependents(connection, oid, *oids.values()) for name, oid in oids.items()}
        if in_the_way := {name: those for name, those in dependents.items() if those}:
            raise ViewInUseError(self._name, in_the_way)
        if oids:
            names = ", ".join(_qualified(schema, name) for name in oids)
            await connection.execute(fill_in(self._drop_tables, tables=names))

    async def _create(self, connection: Connection, schema: str, table: TableShape, options: Sequence[str]) -> None:
        try:
            await connection.execute(self._definition("create", schema, table, options))
        except asyncpg.DuplicateTableError as error:
            raise taken(self._name, table.view, schema) from error
        except asyncpg.UndefinedTableError as error:
            # By SQL of the user's, which made another table, or none.
            raise ProjectionDefinitionError(self._name, f"table {table.view!r} can't be made: {error}") from error

    async def _replace(self, connection: Connection, schema: str, table: TableShape, old: Any) -> list[str]:
        """Returns what stands in the way."""
        try:
            async with connection.transaction():
                await connection.execute(self._definition("replace", schema, table, old["reloptions"] or ()))
                return []
        except asyncpg.InvalidTableDefinitionError:
            # Its columns change: the database has to make it anew.
            if dependents := await self._dependents(connection, old["oid"]):
                return dependents
        aside = f"perdure_{old['oid']}"
        view = _qualified(schema, table.view)
        await connection.execute(fill_in(self._sql["put_aside"], view=view, aside=aside))
        await self._create(connection, schema, table, old["reloptions"] or ())
        await self._carry_over(connection, schema, aside, table.view)
        return await self._drop(connection, old, _qualified(schema, aside))

    async def _drop(self, connection: Connection, old: Any, view: str) -> list[str]:
        """Returns what stands in the way."""
        if not (dependents := await self._dependents(connection, old["oid"])):
            await connection.execute(fill_in(self._sql["drop"], view=view))
        return dependents

    async def _carry_over(self, connection: Connection, schema: str, one: str, other: str) -> None:
        old, new = await self._find(connection, schema, one), await self._find(connection, schema, other)
        if old is None or new is None:
            return
        for row in await connection.fetch(self._sql["carried"], old["oid"], new["oid"]):
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
            # Where a table was made by SQL of the user's, only the database knows its columns.
            columns=", ".join(map(quote_identifier, table.columns)) if table.key else "*",
            options=f"with ({', '.join(options)})" if options else "",
        )


def _qualified(schema: str, name: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"

"""Which builds of a projection there are, and which of them the views show."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from perdure.errors import ProjectionDefinitionError, ProjectionShapeError
from perdure.projections.kind import BuildTables, Described
from perdure.projections.tables import BuildId, TableShape
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.statements import Statements

_SQL: Final = Path(__file__).parent / "sql"


class Builds:
    """One build of a projection among the others.

    Args:
        database: the database of the store.
        definition: the projection.
        storage: its tables.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, database: Database, definition: Described, storage: BuildTables, schema: str) -> None:
        self._database = database
        self._definition = definition
        self._storage = storage
        self._schema = schema
        self._id = definition.build
        self._sql = Statements(_SQL / "build", schema=database.quoted_schema)
        self._add_segments = Statements(_SQL / "segment", schema=database.quoted_schema)["add"]

    async def set_up(self, segments: int) -> bool:
        """Make the tables unless they are there. Returns whether the views show them.

        The views of an older version stay until `show`, when the new tables are full; there are none to wait for at
        first, and those of a newer version stay for good.

        Args:
            segments: into how many pieces a new build is cut.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: it isn't what was set up under this name and version.
        """
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], self._id.name)
            await self._make(connection, segments)
            shown = await connection.fetchrow(self._sql["shown"], self._id.name)
            if shown is None:
                await self._storage.show(connection)
                await connection.execute(self._sql["show"], *self._id)
            return shown is None or BuildId(self._id.name, shown["version"], shown["build"]) >= self._id

    async def _make(self, connection: Connection, segments: int) -> None:
        name, shape = self._id.name, self._definition.shape
        found = await connection.fetchrow(self._sql["find"], *self._id)
        if found is None:
            await connection.execute(self._sql["add"], *self._id, self._schema, shape)
            await connection.execute(self._add_segments, *self._id, segments)
            await self._storage.create(connection)
        elif found["table_schema"] != self._schema:
            raise ProjectionDefinitionError(name, f"its tables are in schema {found['table_schema']!r}: say so")
        elif found["shape"] != shape:
            raise ProjectionShapeError(name, _differences(found["shape"], shape))

    async def show(self) -> None:
        """Let the views show this build, unless they show a newer one."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], self._id.name)
            shown = await connection.fetchrow(self._sql["shown"], self._id.name)
            if shown is None or BuildId(self._id.name, shown["version"], shown["build"]) < self._id:
                is_beside = shown is not None and shown["table_schema"] == self._schema
                await self._storage.show(connection, instead_of=_tables(shown["shape"]) if shown and is_beside else ())
                await connection.execute(self._sql["show"], *self._id)

    async def log_end(self) -> int:
        """The position of the last event of the log."""
        end: int = await self._database.fetch_value(self._sql["log_end"])
        return end


def _differences(stored: str, declared: str) -> list[str]:
    """What differs between two shapes, a line each: ``user_profiles__v1.email: text, now text not null``."""
    before, after = _flat(stored), _flat(declared)
    return [
        f"{name}: {before.get(name, 'not there')}, now {after.get(name, 'not there')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _tables(shape: str) -> list[TableShape]:
    return msgspec.json.decode(shape, type=list[TableShape])


def _flat(shape: str) -> dict[str, str]:
    tables = _tables(shape)
    keys = {f"the key of {table.table}": ", ".join(table.key) for table in tables}
    columns = {f"{table.table}.{name}": kind for table in tables for name, kind in table.columns.items()}
    return keys | columns

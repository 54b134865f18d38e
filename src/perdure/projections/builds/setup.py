"""The builds of projections: which there are, and how one is set up and dropped."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import ProjectionDefinitionError, ProjectionShapeError
from perdure.projections.builds.views import Views
from perdure.projections.engine import BuildTables, ProjectionDefinition
from perdure.projections.state.builds import SQL_FOLDER, Build, read_builds, shown_of, tables_in
from perdure.projections.state.identity import TableShape
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements


class BuildSetup:
    """One build of a projection among the others.

    Args:
        database: the database of the store.
        definition: the projection.
        tables: its tables.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, database: Database, definition: ProjectionDefinition, tables: BuildTables, schema: str) -> None:
        self._database = database
        self._definition = definition
        self._tables = tables
        self._schema = schema
        self._id = definition.build
        self._sql = Statements(SQL_FOLDER / "builds", schema=database.quoted_schema)
        self._add_segments = Statements(SQL_FOLDER / "segments", schema=database.quoted_schema)["add"]

    async def set_up(self, segments: int) -> bool:
        """Make the tables unless they are there, and the views when there are none. Returns whether there is the build.

        The first build of a version is begun here, further ones by `rebuild`. Those who query are shown a build that
        isn't the first of its projection when it is complete.

        Args:
            segments: into how many pieces a new build is cut.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: it isn't what was set up under this name and version.
        """
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], self._id.name)
            builds = await read_builds(connection, self._database, self._id.name)
            self._check_mode(builds)
            found = next((build for build in builds if build.id == self._id), None)
            if found is None and any(build.id.version == self._id.version for build in builds):
                return False
            await self._make(connection, found, segments)
            if shown_of(builds) is None:
                views = Views(self._database, self._id.name)
                await views.show(connection, self._schema, tables_in(self._definition.shape))
                await connection.execute(self._sql["show"], *self._id)
            return True

    async def _make(self, connection: Connection, found: Build | None, segments: int) -> None:
        name, shape = self._id.name, self._definition.shape
        if found is not None and found.schema != self._schema:
            raise ProjectionDefinitionError(name, f"its tables are in schema {found.schema!r}: say so")
        if found is not None and found.tables is not None:
            if found.tables != tables_in(shape):
                raise ProjectionShapeError(name, _differences(found.tables, tables_in(shape)))
            return
        if found is None:
            await connection.execute(self._sql["add"], *self._id, self._schema, shape, True, self._definition.mode)  # noqa: FBT003 - a row
            await connection.execute(self._add_segments, *self._id, segments)
        else:
            await connection.execute(self._sql["made"], *self._id, shape)
        await self._tables.create(connection)

    def _check_mode(self, builds: Sequence[Build]) -> None:
        """What the appends keep, no service may touch, and the other way round."""
        mode = self._definition.mode
        for build in builds:
            if build.id.version == self._id.version and build.mode != mode:
                raise ProjectionDefinitionError(
                    self._id.name,
                    f"version {self._id.version} is kept {build.mode}: give it a new version to keep it {mode}",
                )


async def drop_build(connection: Connection, database: Database, build: Build) -> None:
    """Drop the tables of a build, and all that is known of it, within the caller's transaction.

    Raises:
        ViewInUseError: somebody built on its tables.
    """
    sql = Statements(SQL_FOLDER / "builds", schema=database.quoted_schema)
    # First of all what its runners move, so that a batch under way is waited for.
    await connection.execute(sql["forget"], *build.id)
    await Views(database, build.id.name).drop_tables(connection, build.schema, build.tables or ())


def _differences(stored: Sequence[TableShape], declared: Sequence[TableShape]) -> list[str]:
    """What differs between two shapes, a line each: ``user_profiles__v1.email: text, now text not null``."""
    before, after = _flat(stored), _flat(declared)
    return [
        f"{name}: {before.get(name, 'not there')}, now {after.get(name, 'not there')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _flat(tables: Sequence[TableShape]) -> dict[str, str]:
    keys = {f"the key of {table.table}": ", ".join(table.key) for table in tables}
    columns = {f"{table.table}.{name}": kind for table in tables for name, kind in table.columns.items()}
    return keys | columns

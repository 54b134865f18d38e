"""Sets up a build of a projection: its record, its tables and its first views. Drops it again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perdure.errors import BuildStateError, ProjectionDefinitionError, ProjectionShapeError
from perdure.log import NOW
from perdure.observation import keys
from perdure.projections.builds.views import Views
from perdure.projections.engine import BuildTables, ProjectionDefinition
from perdure.projections.sql import statements
from perdure.projections.state.builds import Build, BuildRecords, shown_of, tables_in
from perdure.projections.state.identity import TableShape
from perdure.projections.state.segments import BEGINNING, Checkpoint
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import quote_identifier

logger = logging.getLogger("perdure.projections")


class BuildSetup:
    """Sets up one build of a projection.

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
        self._records = BuildRecords(database, definition.name)
        self._namespace = quote_identifier(schema)
        self._sql = statements("setup", namespace=self._namespace)

    async def is_recorded(self) -> bool:
        """Return whether a build of this version was set up before."""
        async with self._database.connection() as connection:
            return any(build.id.version == self._id.version for build in await self._records.read(connection))

    async def set_up(self, segments: int, first: Checkpoint | None = BEGINNING) -> bool:
        """Create the tables if they are missing, and the views if the projection has none.

        The first build of a version is added here, further builds by `rebuild`. The views show the first build of a
        projection at once, every other build when it is complete.

        Args:
            segments: how many segments a new build is divided into.
            first: where the first build of the projection begins; None if `is_recorded`.

        Returns:
            False if there is no such build: it was dropped, or only other builds of its version are left.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the projection differs from what was set up under this
                name and version.
            BuildStateError: the build was dropped after `is_recorded`.
        """
        async with self._database.connection() as connection, connection.transaction():
            await self._records.lock(connection)
            builds = await self._records.read(connection)
            self._check_kind(builds)
            self._check_mode(builds)
            found = next((build for build in builds if build.id == self._id), None)
            if found is None and any(build.id.version == self._id.version for build in builds):
                return False
            if found is not None:
                await self._create_missing(connection, found)
            else:
                await self._add(connection, segments, await self._start(connection, builds, first))
            if shown_of(builds) is None:
                views = Views(self._database, self._id.name)
                await views.show(connection, self._schema, tables_in(self._definition.shape))
                await self._records.show(connection, self._id)
            return True

    async def _start(self, connection: Connection, builds: Sequence[Build], first: Checkpoint | None) -> Checkpoint:
        if builds and self._definition.kind == "process":
            return builds[-1].start  # the same events in each build, so that each folds the same state
        if builds and self._definition.start is NOW and (furthest := await self._records.furthest(connection)):
            return furthest
        if first is None:
            raise BuildStateError(*self._id, "was dropped a moment ago: set it up again")
        return first

    async def _add(self, connection: Connection, segments: int, start: Checkpoint) -> None:
        await self._records.add(
            connection,
            self._id,
            self._schema,
            self._definition.shape,
            switches_automatically=True,
            kind=self._definition.kind,
            mode=self._definition.mode,
            segments=segments,
            start=start,
        )
        await self._create_tables(connection)

    async def _create_missing(self, connection: Connection, found: Build) -> None:
        name, shape = self._id.name, self._definition.shape
        if found.schema != self._schema:
            raise ProjectionDefinitionError(
                name, f"its tables are in schema {found.schema!r}: give the service schema={found.schema!r}"
            )
        if found.tables is not None:
            if differences := _differences(found.tables, tables_in(shape)):
                raise ProjectionShapeError(name, differences)
            self._warn_of_missing_indexes(found.tables, tables_in(shape))
            return
        await self._records.record_tables(connection, self._id, shape)
        await self._create_tables(connection)

    async def _create_tables(self, connection: Connection) -> None:
        if self._definition.tables and not await connection.fetchval(self._sql["namespace_exists"], self._namespace):
            await connection.execute(self._sql["create_namespace"])
        await self._tables.create(connection)

    def _warn_of_missing_indexes(self, stored: Sequence[TableShape], declared: Sequence[TableShape]) -> None:
        missing = [
            f"{table.table} ({', '.join(columns)})"
            for before, table in zip(stored, declared, strict=True)
            for columns in table.indexes
            if columns not in before.indexes
        ]
        if missing:
            logger.warning(
                "projection %r: its class declares indexes that version %d build %d lacks: %s; "
                "call rebuild(%r): the next build has them",
                *self._id,
                ", ".join(missing),
                self._id.name,
                extra=keys(operation="set_up", projection=self._id.name),
            )

    def _check_kind(self, builds: Sequence[Build]) -> None:
        for build in builds:
            if build.kind != self._definition.kind:
                raise ProjectionDefinitionError(
                    self._id.name,
                    f"a {build.kind} of this name was set up in this database: give the {self._definition.kind} "
                    "another name",
                )

    def _check_mode(self, builds: Sequence[Build]) -> None:
        # A service must never write the rows of an inline projection, nor an append those of a service.
        mode = self._definition.mode
        for build in builds:
            if build.id.version == self._id.version and build.mode != mode:
                raise ProjectionDefinitionError(
                    self._id.name,
                    f"version {self._id.version} was set up in mode {build.mode!r}: give its class a new version",
                )


async def drop_build(connection: Connection, database: Database, build: Build) -> None:
    """Drop the tables of a build and delete its records, in the caller's transaction.

    Raises:
        ViewInUseError: something is built on its tables.
    """
    # First the segment rows, so that a batch in progress is waited for.
    await BuildRecords(database, build.id.name).delete(connection, build.id)
    await Views(database, build.id.name).drop_tables(connection, build.schema, build.tables or ())


def _differences(stored: Sequence[TableShape], declared: Sequence[TableShape]) -> list[str]:
    """Return one line per difference: ``user_profiles__v1.email: text, now text not null``."""
    before, after = _flat(stored), _flat(declared)
    return [
        f"{name}: {before.get(name, 'not there')}, now {after.get(name, 'not there')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _flat(tables: Sequence[TableShape]) -> dict[str, str]:
    rows_by = {f"the key of {table.table}": ", ".join(table.key) for table in tables}
    unique = {
        f"the unique fields of {table.table}": " and ".join(map(", ".join, table.unique)) or "none" for table in tables
    }
    columns = {f"{table.table}.{name}": kind for table in tables for name, kind in table.columns.items()}
    return rows_by | unique | columns

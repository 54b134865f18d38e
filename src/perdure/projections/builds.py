"""The builds of projections: which there are, and how one is set up and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from perdure.errors import ProjectionDefinitionError, ProjectionShapeError
from perdure.projections.kind import BuildTables, Described
from perdure.projections.options import Mode
from perdure.projections.tables import BuildId, TableShape
from perdure.projections.views import Views
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.statements import Statements

_SQL: Final = Path(__file__).parent / "sql"

BuildStage = Literal["building", "ready", "kept"]
"""It takes the log from the beginning; or it is complete, and was never shown; or it was."""


class Build(NamedTuple):
    """A build as it was set up."""

    id: BuildId
    schema: str
    """The schema that holds its tables and views."""
    tables: tuple[TableShape, ...] | None
    """Its tables; None until a process that has its code makes them."""
    is_shown: bool
    stage: BuildStage
    switches_by_itself: bool
    switch_number: int
    """The highest is shown, the next one was shown before; 0 for one that never was."""
    differs: bool
    """Whether its rows differ from those of the build that was shown when it was ready."""
    mode: Mode
    """Who keeps it."""


async def read_builds(connection: Connection, database: Database, name: str) -> list[Build]:
    """All builds of a projection, the newest first."""
    sql = Statements(_SQL / "builds", schema=database.quoted_schema)
    return [
        Build(
            BuildId(name, row["version"], row["build"]),
            row["table_schema"],
            None if row["shape"] is None else _tables(row["shape"]),
            row["is_shown"],
            row["stage"],
            row["switches_by_itself"],
            row["switch_number"],
            row["findings"] is not None,
            row["mode"],
        )
        for row in await connection.fetch(sql["all"], name)
    ]


def shown_of(builds: Sequence[Build]) -> Build | None:
    """The one that the views show."""
    return next((build for build in builds if build.is_shown), None)


class Builds:
    """One build of a projection among the others.

    Args:
        database: the database of the store.
        definition: the projection.
        tables: its tables.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, database: Database, definition: Described, tables: BuildTables, schema: str) -> None:
        self._database = database
        self._definition = definition
        self._tables = tables
        self._schema = schema
        self._id = definition.build
        self._sql = Statements(_SQL / "builds", schema=database.quoted_schema)
        self._add_segments = Statements(_SQL / "segment", schema=database.quoted_schema)["add"]

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
                await views.show(connection, self._schema, _tables(self._definition.shape))
                await connection.execute(self._sql["show"], *self._id)
            return True

    async def _make(self, connection: Connection, found: Build | None, segments: int) -> None:
        name, shape = self._id.name, self._definition.shape
        if found is not None and found.schema != self._schema:
            raise ProjectionDefinitionError(name, f"its tables are in schema {found.schema!r}: say so")
        if found is not None and found.tables is not None:
            if found.tables != _tables(shape):
                raise ProjectionShapeError(name, _differences(found.tables, _tables(shape)))
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
    sql = Statements(_SQL / "builds", schema=database.quoted_schema)
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


def _tables(shape: str) -> tuple[TableShape, ...]:
    return msgspec.json.decode(shape, type=tuple[TableShape, ...])


def _flat(tables: Sequence[TableShape]) -> dict[str, str]:
    keys = {f"the key of {table.table}": ", ".join(table.key) for table in tables}
    columns = {f"{table.table}.{name}": kind for table in tables for name, kind in table.columns.items()}
    return keys | columns

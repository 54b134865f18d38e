"""Builds as the database records them: their stages, and which one is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from perdure.projections.state.identity import BuildId, TableShape
from perdure.projections.state.options import Mode
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements

SQL_FOLDER: Final = Path(__file__).parents[1] / "sql"


BuildStage = Literal["building", "ready", "retained"]
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
    switches_automatically: bool
    switch_number: int
    """The highest is shown, the next one was shown before; 0 for one that never was."""
    differs: bool
    """Whether its rows differ from those of the build that was shown when it was ready."""
    mode: Mode
    """Who keeps it."""


async def read_builds(connection: Connection, database: Database, name: str) -> list[Build]:
    """All builds of a projection, the newest first."""
    sql = Statements(SQL_FOLDER / "builds", schema=database.quoted_schema)
    return [
        Build(
            BuildId(name, row["version"], row["build"]),
            row["table_schema"],
            None if row["shape"] is None else tables_in(row["shape"]),
            row["is_shown"],
            row["stage"],
            row["switches_automatically"],
            row["switch_number"],
            row["differences"] is not None,
            row["mode"],
        )
        for row in await connection.fetch(sql["all"], name)
    ]


def shown_of(builds: Sequence[Build]) -> Build | None:
    """The one that the views show."""
    return next((build for build in builds if build.is_shown), None)


def tables_in(shape: str) -> tuple[TableShape, ...]:
    """Return the tables that the recorded shape of a build lists."""
    return msgspec.json.decode(shape, type=tuple[TableShape, ...])


class TableDifference(msgspec.Struct, frozen=True, kw_only=True):
    """In what a table differs from the one that it is compared with.

    Attributes:
        table: The name by which people query it.
        rows: How many it has.
        expected_rows: How many the other one has.
        differing: How many rows are missing, too many, or not the same.
        keys: The keys of some of them, as JSON.
    """

    table: str
    rows: int
    expected_rows: int
    differing: int
    keys: tuple[str, ...] = ()

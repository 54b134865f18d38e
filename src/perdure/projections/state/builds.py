"""The records of a projection's builds: their tables, their stage, and which build the views show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from perdure.projections.sql import statements
from perdure.projections.state.identity import BuildId, TableShape
from perdure.projections.state.options import Kind, Mode
from perdure.projections.state.segments import Checkpoint
from perdure.stores.postgres.connections.database import Connection, Database

BuildStage = Literal["building", "ready", "retained"]
"""Building: it reads the log from the beginning. Ready: complete, never shown. Retained: shown, now or before."""


class Build(NamedTuple):
    """The record of a build."""

    id: BuildId
    schema: str
    """The schema that holds its tables and views."""
    tables: tuple[TableShape, ...] | None
    """Its tables; None until a process that has the projection's code creates them."""
    is_shown: bool
    stage: BuildStage
    switches_automatically: bool
    switch_number: int
    """Counts the switches of the projection: the shown build has the highest number. 0 if it was never shown."""
    differs: bool
    """Whether its rows differed from those of the shown build when it was complete."""
    mode: Mode
    """What keeps it up to date."""
    kind: Kind
    """What it is."""
    start: Checkpoint
    """Where it began."""


class BuildRecords:
    """The records of one projection's builds. Each method runs in the caller's transaction.

    Args:
        database: the database of the store.
        name: the projection's name.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._name = name
        self._sql = statements("builds", schema=database.quoted_schema)

    async def lock(self, connection: Connection) -> None:
        """Wait until no other transaction sets up, shows or drops a build of the projection."""
        await connection.execute(self._sql["lock"], self._name)

    async def claim(self, connection: Connection) -> bool:
        """Return whether this transaction is the only one that compares or shows builds that are complete."""
        is_claimed: bool = await connection.fetchval(self._sql["claim"], self._name)
        return is_claimed

    async def read(self, connection: Connection) -> list[Build]:
        """Return all builds, the newest first."""
        return [
            Build(
                BuildId(self._name, row["version"], row["build"]),
                row["table_schema"],
                None if row["shape"] is None else tables_in(row["shape"]),
                row["is_shown"],
                row["stage"],
                row["switches_automatically"],
                row["switch_number"],
                row["differences"] is not None,
                row["mode"],
                row["kind"],
                Checkpoint(row["start_position"], row["start_event_id"]),
            )
            for row in await connection.fetch(self._sql["read"], self._name)
        ]

    async def add(
        self,
        connection: Connection,
        build: BuildId,
        schema: str,
        shape: str | None,
        *,
        switches_automatically: bool,
        kind: Kind,
        mode: Mode,
        segments: int,
        start: Checkpoint,
    ) -> None:
        """Add a build.

        Args:
            connection: where the transaction is.
            build: which build.
            schema: the schema that holds its tables and views.
            shape: its tables, as JSON; None if they are created later.
            switches_automatically: whether the build is shown as soon as it is complete.
            kind: what it is.
            mode: what keeps it up to date.
            segments: how many segments it is divided into.
            start: where it begins.
        """
        await connection.execute(self._sql["add"], *build, schema, shape, switches_automatically, mode, kind, *start)
        await connection.execute(self._sql["add_segments"], *build, segments, *start)

    async def furthest(self, connection: Connection) -> Checkpoint | None:
        """Return the furthest checkpoint of all builds; None if there are none."""
        row = await connection.fetchrow(self._sql["furthest"], self._name)
        return None if row is None else Checkpoint(*row)

    async def record_tables(self, connection: Connection, build: BuildId, shape: str) -> None:
        """Record that the tables of a build were created, with their shape as JSON."""
        await connection.execute(self._sql["record_tables"], *build, shape)

    async def complete(self, connection: Connection, build: BuildId, differences: Sequence[TableDifference]) -> bool:
        """Record that a build is complete. Returns False if it isn't being built any more."""
        encoded = msgspec.json.encode(differences).decode() if differences else None
        return bool(await connection.fetchval(self._sql["complete"], *build, encoded))

    async def show(self, connection: Connection, build: BuildId) -> None:
        """Record that the views show a build."""
        await connection.execute(self._sql["show"], *build)

    async def delete(self, connection: Connection, build: BuildId) -> None:
        """Delete a build with its segments and parked events."""
        await connection.execute(self._sql["delete"], *build)

    async def count_segments(self, connection: Connection, build: BuildId) -> int:
        """Return how many segments a build is divided into."""
        count: int = await connection.fetchval(self._sql["count_segments"], *build)
        return count

    async def has_runner(self, connection: Connection, build: BuildId) -> bool:
        """Return whether any process runs a build."""
        is_run: bool = await connection.fetchval(self._sql["has_runner"], *build)
        return is_run


def shown_of(builds: Sequence[Build]) -> Build | None:
    """Return the build that the views show; None if there are no views yet."""
    return next((build for build in builds if build.is_shown), None)


def tables_in(shape: str) -> tuple[TableShape, ...]:
    """Return the tables that the recorded shape of a build lists."""
    return msgspec.json.decode(shape, type=tuple[TableShape, ...])


class TableDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of a table differ from those that it is compared with.

    Attributes:
        table: The name under which users query the table.
        rows: How many rows the table has.
        expected_rows: How many rows it is compared with.
        differing: How many rows are missing, surplus, or different.
        keys: The keys of at most 10 of them, as JSON.
    """

    table: str
    rows: int
    expected_rows: int
    differing: int
    keys: tuple[str, ...] = ()

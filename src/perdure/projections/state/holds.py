"""Builds are held at one position for a moment, so that two of them can be compared, or one shown instead of another.

A hold stands in the database, where the checkpoint of a segment is moved; so it holds whoever moves it. It ends by
itself, should the process that asked for it die.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "holds"
_LOOK: Final = 0.01
"""Seconds between two looks at how far the segments are."""


class Span(NamedTuple):
    """Between which positions builds stand."""

    slowest: int
    furthest: int
    is_paused: bool
    """Whether a segment waits for somebody to resume it."""


class Holds:
    """Holds builds of one projection.

    Args:
        database: the database of the store.
        name: the projection's.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)

    @asynccontextmanager
    async def held(self, builds: Sequence[BuildId], seconds: float) -> AsyncGenerator[int]:
        """Hold builds where the furthest of their segments stands, which is yielded; for so long at most."""
        arguments = _arguments(self._name, builds)
        position: int = await self._database.fetch_value(self._sql["hold"], *arguments, seconds)
        try:
            yield position
        finally:
            await self._database.fetch(self._sql["let_go"], *arguments)

    async def span(self, connection: Connection, builds: Sequence[BuildId]) -> Span:
        """Between which positions builds stand."""
        row = await connection.fetchrow(self._sql["positions"], *_arguments(self._name, builds))
        assert row is not None  # noqa: S101 - an aggregate has one
        return Span(row["slowest"], row["furthest"], row["is_paused"])

    async def reached(self, builds: Sequence[BuildId], position: int, patience: float) -> bool:
        """Wait until all segments have come to a position. Returns whether they have."""
        async with self._database.connection() as connection:
            return await self.reached_on(connection, builds, position, patience)

    async def reached_on(
        self, connection: Connection, builds: Sequence[BuildId], position: int, patience: float
    ) -> bool:
        """The same on a connection of the caller's."""
        deadline = asyncio.get_running_loop().time() + patience
        while (span := await self.span(connection, builds)).slowest < position:
            if span.is_paused or asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK)
        return True

    async def lock(self, connection: Connection, build: BuildId) -> int:
        """Keep a build where it is until the transaction ends; the position of its furthest segment."""
        position: int = await connection.fetchval(self._sql["lock_segments"], *build)
        return position


def _arguments(name: str, builds: Sequence[BuildId]) -> tuple[str, list[int], list[int]]:
    return name, [build.version for build in builds], [build.build for build in builds]

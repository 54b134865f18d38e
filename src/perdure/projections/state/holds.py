"""Holds: builds are kept at one position for a moment, so that they can be compared or switched.

A hold is a column of the segment row, so every runner obeys it. It expires if the process that set it dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from perdure.projections.sql import statements
from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.connections.database import Connection, Database

_POLL: Final = 0.01
"""Seconds between two reads of the positions."""


class PositionRange(NamedTuple):
    """The range of positions that the segments of some builds have reached."""

    slowest: int
    furthest: int
    is_paused: bool
    """Whether a segment is paused."""


class Holds:
    """Holds builds of one projection.

    Args:
        database: the database of the store.
        name: the projection's name.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._sql = statements("holds", schema=database.quoted_schema)

    @asynccontextmanager
    async def held(self, builds: Sequence[BuildId], seconds: float) -> AsyncGenerator[int]:
        """Hold builds at the position of their furthest segment, and yield it. The hold expires after `seconds`."""
        arguments = _arguments(self._name, builds)
        position: int = await self._database.fetch_value(self._sql["hold"], *arguments, seconds)
        try:
            yield position
        finally:
            await self._database.fetch(self._sql["release"], *arguments)

    async def span(self, connection: Connection, builds: Sequence[BuildId]) -> PositionRange:
        """Return the range of positions that the segments of builds have reached."""
        row = await connection.fetchrow(self._sql["positions"], *_arguments(self._name, builds))
        assert row is not None  # noqa: S101 - an aggregate has one
        return PositionRange(row["slowest"], row["furthest"], row["is_paused"])

    async def reached(self, builds: Sequence[BuildId], position: int, timeout: float) -> bool:
        """Wait until all segments have reached a position. Return False on a pause, or after `timeout` seconds."""
        async with self._database.connection() as connection:
            return await self.reached_on(connection, builds, position, timeout)

    async def reached_on(
        self, connection: Connection, builds: Sequence[BuildId], position: int, timeout: float
    ) -> bool:
        """Do the same as `reached`, on the caller's connection."""
        deadline = asyncio.get_running_loop().time() + timeout
        while (span := await self.span(connection, builds)).slowest < position:
            if span.is_paused or asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def lock(self, connection: Connection, build: BuildId) -> int:
        """Keep a build at its position until the transaction ends. Return the position of its furthest segment."""
        position: int = await connection.fetchval(self._sql["lock_segments"], *build)
        return position


def _arguments(name: str, builds: Sequence[BuildId]) -> tuple[str, list[int], list[int]]:
    return name, [build.version for build in builds], [build.build for build in builds]

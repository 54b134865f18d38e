"""Finds the sessions that hold the locks which another session waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from perdure.errors import LockHolder, PerdureError
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database, session_of
from perdure.stores.postgres.driver_errors import CONNECTION_LOST
from perdure.stores.postgres.sql_files import Statements

logger = logging.getLogger("perdure.schema")

_LONGEST_INTERVAL: Final = 0.25


class LockWatch:
    """Polls for the holders of locks that a session waits for, on its own connection.

    The connection is never in a transaction: an index that is built concurrently would wait for the end of it.

    Args:
        database: the database.
        patience: seconds that the session waits for a lock; the watch polls more often than that.

    Attributes:
        holders: the sessions that it waited for, as of the last poll that found any.
    """

    def __init__(self, database: Database, patience: float) -> None:
        self._database = database
        self._interval = min(patience / 4, _LONGEST_INTERVAL)
        self._sql = Statements(Path(__file__).parents[1] / "sql" / "schema", schema=database.quoted_schema)
        self._done = asyncio.Event()
        self.holders: tuple[LockHolder, ...] = ()

    @asynccontextmanager
    async def over(self, connection: Connection) -> AsyncGenerator[None]:
        """Watch the session that serves the connection: behind a pooler, the session of the current transaction."""
        self._done.clear()
        task = asyncio.create_task(self._poll(await session_of(connection)), name="perdure lock watch")
        try:
            yield
        finally:
            self._done.set()
            await task

    async def _poll(self, pid: int) -> None:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            while not await self._is_done():
                connection = connection or await self._database.connect()
                if rows := await connection.fetch(self._sql["lock_holders"], pid):
                    self.holders = tuple(LockHolder(*row) for row in rows)
        except (PerdureError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
            logger.debug("could not find the holders of locks: %s", error, extra=keys(error, operation="migrate"))
        finally:
            if connection is not None:
                connection.terminate()

    async def _is_done(self) -> bool:
        try:
            await asyncio.wait_for(self._done.wait(), self._interval)
        except TimeoutError:
            return False
        return True

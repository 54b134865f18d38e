"""Who holds the locks that a session waits for."""

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
    """Looks from time to time, on a connection of its own, for whom a session waits.

    Never on one that is in a transaction: an index that is built concurrently would wait for its end.

    Args:
        database: the database.
        patience: seconds that a session waits for a lock, so that the watch looks before they are over.

    Attributes:
        holders: whom it waited for when that was last seen.
    """

    def __init__(self, database: Database, patience: float) -> None:
        self._database = database
        self._interval = min(patience / 4, _LONGEST_INTERVAL)
        self._sql = Statements(Path(__file__).parents[1] / "sql" / "schema", schema=database.quoted_schema)
        self._done = asyncio.Event()
        self.holders: tuple[LockHolder, ...] = ()

    @asynccontextmanager
    async def over(self, connection: Connection) -> AsyncGenerator[None]:
        """Watch the session that serves the connection: behind a pooler, that of the transaction that it is in."""
        self._done.clear()
        task = asyncio.create_task(self._look(await session_of(connection)), name="perdure lock watch")
        try:
            yield
        finally:
            self._done.set()
            await task

    async def _look(self, pid: int) -> None:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            while not await self._is_done():
                connection = connection or await self._database.connect()
                if rows := await connection.fetch(self._sql["lock_holders"], pid):
                    self.holders = tuple(LockHolder(*row) for row in rows)
        except (PerdureError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
            logger.debug("could not look who holds the locks: %s", error, extra=keys(error, operation="migrate"))
        finally:
            if connection is not None:
                connection.terminate()

    async def _is_done(self) -> bool:
        try:
            await asyncio.wait_for(self._done.wait(), self._interval)
        except TimeoutError:
            return False
        return True

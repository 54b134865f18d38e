"""The publisher: tells the standbys up to where they can be read.

The locks that fence the log aren't replicated, so a standby can't find that out for itself. Every open store that may
append publishes after appends, of its own and of those that it hears of, as long as the server has standbys.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from perdure.errors import PerdureError
from perdure.log import Changes
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.publisher")

INTERVAL: Final = 0.05
_PAUSE_WITHOUT_STANDBYS: Final = 10.0
_PAUSE_AFTER_FAILURE: Final = 1.0
_LONG: Final = 3600.0


class Publisher:
    """Publishes the safe position for those who read on standbys.

    Args:
        database: the database of the store.
        changes: announced after appends.
    """

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._sql = Statements(Path(__file__).parent / "sql" / "standbys", schema=database.quoted_schema)
        self._owner = Tasks("the event store", "publish")
        self._task: asyncio.Task[None] | None = None

    async def start(self, connection: Connection) -> None:
        """Publish what somebody has left unpublished, on this connection, and from now on what is appended."""
        try:
            pause = await self._publish(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            pause = _PAUSE_WITHOUT_STANDBYS
        if pause != math.inf:
            self._task = self._owner.keep(partial(self._keep_publishing, pause), "perdure publisher")

    async def close(self) -> None:
        """Stop. What isn't published yet is so when the next store is opened, or the next event appended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_publishing(self, pause: float) -> None:
        seen = 0
        while pause != math.inf:
            if not pause:
                await self._changes.wait(seen, _LONG)
            await asyncio.sleep(pause or INTERVAL)
            seen = self._changes.count
            try:
                async with self._database.connection() as connection:
                    pause = await self._publish(connection)
            except PerdureError as error:
                told = keys(error, operation="publish")
                logger.debug("could not publish for standbys: %s", error, extra=told)
                pause = _PAUSE_AFTER_FAILURE

    async def _publish(self, connection: Connection) -> float:
        """Publish. Returns when to do it again: 0, when something was appended; infinity, when it isn't allowed."""
        try:
            [(published, last_drawn)] = await connection.fetch(self._sql["publish_position"])
        except asyncpg.InsufficientPrivilegeError:
            return math.inf  # a role that only reads
        if last_drawn is None:
            return _PAUSE_WITHOUT_STANDBYS
        return 0.0 if published == last_drawn else INTERVAL

"""The standby publisher: publishes the position up to which the log can be read on standbys.

The locks that fence the log aren't replicated, so a reader on a standby can't find that out. Every open store that may
append publishes it after appends, those of other processes included, as long as the server has standbys.
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
from perdure.log import ChangeSignal
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.standby_publisher")

INTERVAL: Final = 0.05
_PAUSE_WITHOUT_STANDBYS: Final = 10.0
_PAUSE_AFTER_FAILURE: Final = 1.0
_LONG: Final = 3600.0


class StandbyPublisher:
    """Publishes the safe position for readers on standbys.

    Args:
        database: the database of the store.
        changes: announced after appends.
        tasks: the background tasks of the store.
    """

    def __init__(self, database: Database, changes: ChangeSignal, tasks: Tasks) -> None:
        self._database = database
        self._changes = changes
        self._sql = Statements(Path(__file__).parent / "sql" / "standbys", schema=database.quoted_schema)
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None

    async def start(self, connection: Connection) -> None:
        """Publish the position on this connection, and from now on after appends."""
        try:
            pause = await self._publish(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            pause = _PAUSE_WITHOUT_STANDBYS
        if pause != math.inf:
            self._task = self._tasks.keep(
                partial(self._keep_publishing, pause), "perdure standby publisher", operation="publish"
            )

    async def close(self) -> None:
        """Stop. What isn't published yet will be when a store is opened, or an event appended."""
        if self._task is not None:
            await self._tasks.stop(self._task)

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
                details = keys(error, operation="publish")
                logger.debug("could not publish for standbys: %s", error, extra=details)
                pause = _PAUSE_AFTER_FAILURE

    async def _publish(self, connection: Connection) -> float:
        """Publish. Returns the pause until the next time: 0 for the next append; infinity if it isn't allowed."""
        try:
            [(published, last_drawn)] = await connection.fetch(self._sql["publish_position"])
        except asyncpg.InsufficientPrivilegeError:
            return math.inf  # a role that only reads
        if last_drawn is None:
            return _PAUSE_WITHOUT_STANDBYS
        return 0.0 if published == last_drawn else INTERVAL

"""The publisher: tells the standbys up to where they can be read.

The locks that fence the log aren't replicated, so a standby can't find that out for itself. Every open store that may
append publishes after appends, of its own and of those that it hears of, as long as the server has standbys.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from perdure.errors import ConfigurationError, PerdureError
from perdure.log import Changes
from perdure.observation import keys
from perdure.stores.postgres.database import Database
from perdure.stores.postgres.statements import Statements

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
        self._sql = Statements(Path(__file__).parent / "sql", schema=database.quoted_schema)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Publish from now on, at once what somebody has left unpublished."""
        self._task = asyncio.create_task(self._keep_publishing(), name="perdure publisher")

    async def close(self) -> None:
        """Stop. What isn't published yet is so when the next store is opened, or the next event appended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_publishing(self) -> None:
        while True:
            seen = self._changes.count
            try:
                pause = await self._publish()
            except ConfigurationError as error:
                told = keys(error, operation="publish")
                logger.debug("others must publish for standbys: %s", error, extra=told)
                return  # a role that only reads
            except PerdureError as error:
                told = keys(error, operation="publish")
                logger.debug("could not publish for standbys: %s", error, extra=told)
                pause = _PAUSE_AFTER_FAILURE
            if pause is None:
                await self._changes.wait(seen, _LONG)
                pause = INTERVAL
            await asyncio.sleep(pause)

    async def _publish(self) -> float | None:
        """Publish. Returns when to do it again; None: when something was appended."""
        [(published, last_drawn)] = await self._database.fetch(self._sql["publish_position"])
        if last_drawn is None:
            return _PAUSE_WITHOUT_STANDBYS
        return None if published == last_drawn else INTERVAL

"""The notifier: wakes followers of the log, at once in this process, by NOTIFY in others.

A NOTIFY within the append would serialise all commits of the database. So it is sent after the commit, on another
connection: at once, or a few milliseconds after the one before. It carries nothing, and may be lost: followers also
poll the log from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg

from perdure.errors import PerdureError
from perdure.log import ChangeSignal
from perdure.observation import keys
from perdure.outage import Outage
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated_errors
from perdure.stores.postgres.sql_files import Statements
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.notifier")

INTERVAL: Final = 0.005
"""Seconds between two notifications, at least."""
LONGEST_SILENCE: Final = 30.0
"""Seconds without a notification after which the listening connection is checked."""
_PAUSE_AFTER_FAILURE = 1.0
_LONGEST_PAUSE = 5.0
_LAST_NOTIFY_WITHIN = 1.0
"""Seconds that closing waits for a notification that is due."""
_HEARD_WITHIN = 5.0
"""Seconds within which a NOTIFY must arrive where this process listens."""
_PAUSE_WHILE_DEAF = 60.0
_DEAF = (
    "LISTEN receives nothing, as behind a pooler in transaction mode: appends of other processes are found by polling, "
    "at most a quarter of a second later; to be notified at once, give direct_url, the URL of the server itself"
)

_LOST: Final = (PerdureError, asyncpg.PostgresError, *CONNECTION_LOST)


class Notifier:
    """Notifies other processes, and listens to them.

    Args:
        database: the database of the store.
        changes: announced when another process notifies this one.
        tasks: the background tasks of the store.
    """

    def __init__(self, database: Database, changes: ChangeSignal, tasks: Tasks) -> None:
        self._database = database
        self._changes = changes
        self._tasks = tasks
        self._channel = channel_of(database.schema)
        self._sql = Statements(Path(__file__).parent / "sql" / "notifications", schema=database.quoted_schema)
        self._is_due = asyncio.Event()
        """Whether others are to be notified."""
        self._is_idle = asyncio.Event()
        """Whether they have been, or can't be."""
        self._is_idle.set()
        self._notifying: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._is_connected = False
        self._is_deaf = False
        self._outage = Outage(logger, "listening to other processes")
        self._own_pid: int | None = None
        """The session that notifies. Its notifications concern only appends that are known here."""

    @property
    def is_listening(self) -> bool | None:
        """Whether notifications of other processes arrive; None if nothing here needs them."""
        return None if self._listening is None else self._is_connected

    def start(self) -> None:
        """Get ready to notify. The connection is made with the first notification."""
        self._notifying = self._tasks.keep(self._keep_notifying, "perdure notifier", operation="notify")

    def listen(self) -> None:
        """Listen to other processes from now on."""
        if self._listening is None and self._notifying is not None:
            self._listening = self._tasks.keep(self._keep_listening, "perdure listener", operation="listen")

    def notify(self) -> None:
        """Wake the followers: those of this process at once, those of others within a few milliseconds."""
        self._changes.announce()
        self._is_idle.clear()
        self._is_due.set()

    async def close(self) -> None:
        """Close the connections. A notification that is due is still sent."""
        notifying, self._notifying = self._notifying, None
        if notifying is None:
            return
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_idle.wait(), _LAST_NOTIFY_WITHIN)
        finally:
            await self._tasks.stop(notifying, *([self._listening] if self._listening is not None else []))

    async def _keep_notifying(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                await self._is_due.wait()
                self._is_due.clear()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._database.connect()
                        self._own_pid = connection.get_server_pid()
                    await connection.execute(self._sql["notify"], self._channel)
                except _LOST as error:
                    # Followers elsewhere find out by polling; the next notification tries again.
                    logger.debug("could not notify other processes: %s", error, extra=keys(error, operation="notify"))
                    self._is_idle.set()
                    if connection is not None:
                        connection.terminate()  # the server may be a standby now
                        connection = None
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE)
                except Exception:
                    self._is_due.set()  # for the next run of this task, which its owner starts
                    raise
                if not self._is_due.is_set():
                    self._is_idle.set()
                await asyncio.sleep(INTERVAL)
        finally:
            if connection is not None:
                connection.terminate()

    async def _keep_listening(self) -> None:
        pause = INTERVAL
        while True:
            try:
                pause = await self._listen_once()
            except _LOST as error:
                pause = min(max(pause * 2, 0.1), _LONGEST_PAUSE)
                self._outage.failed(self, error, operation="listen", pause=pause)
            await asyncio.sleep(pause)

    async def _listen_once(self) -> float:
        """Listen until the connection is lost, if LISTEN works. Returns after how many seconds to try again."""
        if await self._check_deaf():
            return _PAUSE_WHILE_DEAF
        connection = await self._database.connect_directly()
        is_lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: is_lost.set())
            await connection.add_listener(self._channel, self._heard)
            self._is_connected = True
            self._outage.succeeded(self, operation="listen")
            self._changes.announce(is_certain=False)  # for what was appended before
            while not is_lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(is_lost.wait(), LONGEST_SILENCE)
                    continue
                # A server that vanished sends nothing, and one that is cut off or a standby now has nothing to send.
                if await connection.fetchval(self._sql["is_standby"], timeout=LONGEST_SILENCE):
                    break
        finally:
            self._is_connected = False
            connection.terminate()
        logger.debug("the listening connection was lost; connecting again", extra=keys(operation="listen"))
        self._changes.announce(is_certain=False)
        return INTERVAL

    async def _check_deaf(self) -> bool:
        is_deaf = self._database.may_be_deaf and await seconds_until_heard(self._database, _HEARD_WITHIN) is None
        if is_deaf and not self._is_deaf:
            logger.warning(_DEAF, extra=keys(operation="listen", pause=_PAUSE_WHILE_DEAF))
        self._is_deaf = is_deaf
        return is_deaf

    def _heard(self, _connection: object, pid: int, *_: object) -> None:
        if pid != self._own_pid:
            self._changes.announce()


def channel_of(schema: str) -> str:
    """Return the name of the channel on which the processes of a store notify each other."""
    return f"perdure:{schema}".encode()[:63].decode(errors="ignore")  # PostgreSQL takes 63 bytes


_SQL: Final = Statements(Path(__file__).parent / "sql" / "notifications")

_CHANNEL = f"perdure:inspection:{uuid4().hex}"
"""Another one in each process, for behind a pooler, a LISTEN stays with the session that was lent."""


async def seconds_until_heard(database: Database, timeout: float) -> float | None:
    """Return how many seconds a NOTIFY takes to reach the store; None if it doesn't arrive within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[float] = loop.create_future()

    def hear(*_: object) -> None:
        if not heard.done():
            heard.set_result(loop.time())

    listener: Any = await database.connect_directly()
    try:
        with translated_errors():
            await listener.add_listener(_CHANNEL, hear)
        began = loop.time()
        await database.fetch(_SQL["notify"], _CHANNEL)
        async with asyncio.timeout(timeout):
            return await heard - began
    except TimeoutError:
        return None
    finally:
        listener.terminate()

"""The bell: wakes those who follow the log, at once in this process, by NOTIFY in others.

A NOTIFY within the append would serialise all commits of the database, so it goes out after the commit, on another
connection: at once when the last was a while ago, else as soon as it may. It carries nothing, and may be lost: all that
follow look for themselves from time to time.
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
from perdure.log import Changes
from perdure.observation import keys
from perdure.outage import Outage
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated_errors
from perdure.stores.postgres.sql_files import Statements
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.bell")

INTERVAL = 0.005
LONGEST_SILENCE = 30.0
_LONGEST_PAUSE = 5.0
_PAUSE_AFTER_FAILURE = 1.0
_LONGEST_FAREWELL = 1.0
_HEARD_WITHIN = 5.0
_PAUSE_WHILE_DEAF = 60.0
_DEAF = (
    "LISTEN hears nothing, as behind a pooler of transactions: what other processes append is found by looking, a "
    "quarter of a second later at most; to hear it at once, give direct_url, which leads to the server itself"
)


_SQL: Final = Statements(Path(__file__).parent / "sql" / "notifications")


class Bell:
    """Rings in other processes, and hears them ring.

    Args:
        database: the database of the store.
        changes: announced when another process rings.
    """

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._channel = channel_of(database.schema)
        self._sql = Statements(Path(__file__).parent / "sql" / "notifications", schema=database.quoted_schema)
        self._rung = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._owner = Tasks("the event store", "notify")
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: asyncio.Task[None] | None = None
        self._is_connected = False
        self._is_deaf = False
        self._outage = Outage(logger, "listening to other processes")
        self._own_pid: int | None = None
        """Of the session that rings: what it says is known here."""

    @property
    def is_listening(self) -> bool | None:
        """Whether the other processes are heard; None when nobody wants to hear them."""
        return None if self._listener is None else self._is_connected

    def start(self) -> None:
        """Get ready to ring. The connection is made when there is something to tell."""
        self._tasks.append(self._owner.keep(self._keep_ringing, "perdure bell"))

    def listen(self) -> None:
        """Hear the other processes from now on."""
        if self._listener is None and self._tasks:
            self._listener = self._owner.keep(self._keep_listening, "perdure bell listener")
            self._tasks.append(self._listener)

    def ring(self) -> None:
        """Wake the followers: those of this process at once, the others within a few milliseconds."""
        self._changes.announce()
        self._quiet.clear()
        self._rung.set()

    async def close(self) -> None:
        """Let go of the connections. A ring that is due still goes out."""
        tasks, self._tasks = self._tasks, []
        try:
            if tasks:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._quiet.wait(), _LONGEST_FAREWELL)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_ringing(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                await self._rung.wait()
                self._rung.clear()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._database.connect()
                        self._own_pid = connection.get_server_pid()
                    await connection.execute(self._sql["notify"], self._channel)
                except (PerdureError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
                    # Followers elsewhere find out by looking; the next ring tries again.
                    logger.debug("could not notify other processes: %s", error, extra=keys(error, operation="notify"))
                    self._quiet.set()
                    if connection is not None:
                        connection.terminate()  # the server may be a standby now
                        connection = None
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE)
                if not self._rung.is_set():
                    self._quiet.set()
                await asyncio.sleep(INTERVAL)
        finally:
            if connection is not None:
                connection.terminate()

    async def _keep_listening(self) -> None:
        pause = INTERVAL
        while True:
            try:
                pause = await self._listen_once()
            except (PerdureError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
                pause = min(max(pause * 2, 0.1), _LONGEST_PAUSE)
                self._outage.failed(self, error, operation="listen", pause=pause)
            await asyncio.sleep(pause)

    async def _listen_once(self) -> float:
        """Listen until the connection goes away, if it hears anything. Returns when to try again."""
        if self._database.may_be_deaf and await seconds_until_heard(self._database, _HEARD_WITHIN) is None:
            if not self._is_deaf:
                told = keys(operation="listen", pause=_PAUSE_WHILE_DEAF)
                logger.warning(_DEAF, extra=told)
            self._is_deaf = True
            return _PAUSE_WHILE_DEAF
        self._is_deaf = False
        connection = await self._database.connect_directly()
        gone = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: gone.set())
            await connection.add_listener(self._channel, self._heard)
            self._is_connected = True
            self._outage.succeeded(self, operation="listen")
            self._changes.announce(is_certain=False)  # what was appended before we listened
            while not gone.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), LONGEST_SILENCE)
                    continue
                # A server that vanished says nothing, and one that is cut off or a standby now has nothing to say.
                if await connection.fetchval(self._sql["is_standby"], timeout=LONGEST_SILENCE):
                    break
        finally:
            self._is_connected = False
            connection.terminate()
        logger.debug("the listening connection was lost; connecting again", extra=keys(operation="listen"))
        self._changes.announce(is_certain=False)
        return INTERVAL

    def _heard(self, _connection: object, pid: int, *_: object) -> None:
        if pid != self._own_pid:
            self._changes.announce()


def channel_of(schema: str) -> str:
    """The name of the channel on which the processes of a store wake each other."""
    return f"perdure:{schema}".encode()[:63].decode(errors="ignore")  # PostgreSQL takes 63 bytes


_CHANNEL = f"perdure:inspection:{uuid4().hex}"
"""One for each process, for behind a pooler, a LISTEN stays with the session that was lent."""


async def seconds_until_heard(database: Database, timeout: float) -> float | None:
    """How long a NOTIFY takes to where the store listens; None when it wasn't heard."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[float] = loop.create_future()

    def hear(*_: object) -> None:
        if not heard.done():
            heard.set_result(loop.time())

    listener: Any = await database.connect_directly()
    try:
        with translated_errors():
            await listener.add_listener(_CHANNEL, hear)
        rung_at = loop.time()
        await database.fetch(_SQL["notify"], _CHANNEL)
        async with asyncio.timeout(timeout):
            return await heard - rung_at
    except TimeoutError:
        return None
    finally:
        listener.terminate()

"""What has to be known of poolers, which lend a server's session for the length of one transaction.

Behind one, LISTEN is taken and nothing is ever heard; a prepared statement, a lock or a setting of the session stays
with whoever is lent that session next. So nothing here relies on a session, and statements are sent without names.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from perdure.stores.postgres.failures import translated_errors
from perdure.stores.postgres.statements import Statements

if TYPE_CHECKING:
    from perdure.stores.postgres.database import Connection, Database

_SQL = Statements(Path(__file__).parent / "sql")
_CHANNEL = f"perdure:inspection:{uuid4().hex}"
"""One for each process, for behind a pooler, a LISTEN stays with the session that was lent."""


async def session_of(connection: Connection) -> int:
    """The pid of the server's session that serves the connection: behind a pooler, in this transaction only."""
    pid: int = await connection.fetchval(_SQL["backend_pid"])
    return pid


async def is_pooled(connection: asyncpg.Connection[Any]) -> bool:
    """Whether a pooler stands in between, of whatever kind: it tells its clients another pid than the server's."""
    return await session_of(connection) != connection.get_server_pid()


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

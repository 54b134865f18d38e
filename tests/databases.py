"""Databases for tests: a thread makes them, one ahead of the test that needs it, and drops them.

Each test has its own event loop, and a connection can't outlive its loop. So the thread has the loop of the connection.
"""

import asyncio
import itertools
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.pooler import direct

# Copying files is quicker than the write-ahead log, but waits for the disk, if the server keeps its data on one.
_STRATEGY: Final = "" if os.environ.get("PERDURE_TEST_DATABASE_URL") else "strategy file_copy"


def url_for(url: str, database: str) -> str:
    """The URL of another database of the server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


class Databases:
    """Copies of a template database.

    Args:
        server_url: the URL of the server, as tests connect to it.
        template: the database to copy; nothing may be connected to it.
    """

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._names = (f"{template}_{number}" for number in itertools.count(1))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="databases", daemon=True)
        self._turn = asyncio.Lock()
        self._next: Future[str]
        self._dropped: Future[Any]

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """The URL of a database that no other test uses. It is dropped while the next test runs."""
        name = await asyncio.wrap_future(self._next)
        self._next = self._create()
        yield url_for(self._server_url, name)
        self._drop(name)

    def __enter__(self) -> Self:
        self._thread.start()
        self._connection = asyncio.run_coroutine_threadsafe(
            asyncpg.connect(direct(self._server_url)), self._loop
        ).result()
        self._next = self._create()
        self._dropped = self._next
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._drop(self._next.result())
        self._dropped.result()
        asyncio.run_coroutine_threadsafe(self._connection.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _create(self) -> Future[str]:
        name = next(self._names)

        async def create() -> str:
            async with self._turn:
                await self._connection.execute(f"create database {name} template {self._template} {_STRATEGY}")
            return name

        return asyncio.run_coroutine_threadsafe(create(), self._loop)

    def _drop(self, name: str) -> None:
        before, self._dropped = self._dropped, self._execute(f"drop database {name} with (force)")
        before.result()

    def _execute(self, statement: str) -> Future[Any]:
        async def execute() -> None:
            async with self._turn:
                await self._connection.execute(statement)

        return asyncio.run_coroutine_threadsafe(execute(), self._loop)

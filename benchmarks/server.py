"""The PostgreSQL server of a run: embedded, with the durability that PostgreSQL has by default."""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.processor import parent_of
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL

ON_DISK = "/var/tmp"  # unlike /tmp, which is in memory on many a machine


class Server:
    """A server on which each system gets databases of its own."""

    def __init__(self, url: str, pid: int, version: str) -> None:
        self._url = url
        self.pid = pid
        """The process above all those that serve."""
        self.version = version
        self._numbers = count(1)

    @asynccontextmanager
    async def database(self) -> AsyncGenerator[str]:
        """The URL of a new, empty database, dropped afterwards."""
        name = f"bench_{next(self._numbers)}"
        await self.ask(f'create database "{name}"')
        try:
            yield urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
        finally:
            await self.ask(f'drop database "{name}" with (force)')

    async def ask(self, statement: str) -> object:
        """What a statement returns first, if anything."""
        connection = await asyncpg.connect(self._url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


async def connected(url: str) -> Server:
    """The server at that URL."""
    connection = await asyncpg.connect(url)
    try:
        pid = await connection.fetchval("select pg_backend_pid()")
        return Server(url, parent_of(pid), await connection.fetchval("show server_version"))
    finally:
        await connection.close()


async def check_durability(server: Server) -> None:
    """Raise unless what is committed survives a crash: no figure counts otherwise."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        if await server.ask(f"show {setting}") != "on":
            raise RuntimeError(f"{setting} is off")


@asynccontextmanager
async def embedded() -> AsyncGenerator[Server]:
    """A server for this run alone, gone afterwards with its data."""
    with _folder() as folder:
        async with EmbeddedPostgreSQL(folder) as postgresql:
            server = await connected(postgresql.url)
            await check_durability(server)
            yield server


@contextmanager
def _folder() -> Generator[Path]:
    parent = os.environ.get("TMPDIR") or ON_DISK
    with TemporaryDirectory(prefix="perdure-bench-", dir=parent if os.access(parent, os.W_OK) else None) as folder:
        Path(folder).chmod(0o711)  # started by root, the server runs as another user, who has to get in
        yield Path(folder) / "server"

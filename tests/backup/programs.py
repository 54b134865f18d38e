"""pg_dump and pg_restore, as the wheel brings them, on the server of the tests."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from tests.databases import url_for
from tests.pooler import direct


class Programs:
    """Runs them in a folder where they may write.

    Attributes:
        folder: where dumps go.
    """

    def __init__(self, folder: Path, account: Account, binaries: Binaries) -> None:
        self.folder = folder
        self._account = account
        self._binaries = binaries

    @classmethod
    async def found(cls, folder: Path) -> "Programs":
        account = Account.of(os.geteuid())  # unlike a server, they may be root, who alone gets at the socket
        binaries = await Binaries.find(int(os.environ.get("PERDURE_TEST_MAJOR", "18"))).reachable_by(account)
        return cls(folder, account, binaries)

    async def dump(self, url: str, *options: str) -> Path:
        """Dump a database, into a file unless the options say otherwise."""
        target = self.folder / uuid4().hex
        await self.run("pg_dump", "--dbname", direct(url), "--file", target, *(options or ("--format=custom",)))
        return target

    async def restore(self, dump: Path, url: str, *options: str) -> None:
        await self.run("pg_restore", "--dbname", direct(url), "--exit-on-error", *options, dump)

    async def run(self, program: str, *arguments: str | Path) -> None:
        status, output = await self._account.run(self._binaries.program(program), *arguments)
        assert status == 0, output


@asynccontextmanager
async def new_database(server_url: str) -> AsyncIterator[str]:
    """A database with nothing in it, beside that of the test."""
    name = f"perdure_restored_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(direct(server_url))
    try:
        await connection.execute(f"create database {name}")
        yield url_for(server_url, name)
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()

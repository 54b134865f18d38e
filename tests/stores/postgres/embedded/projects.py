"""What the tests of the embedded PostgreSQL share: projects, and other processes that use their server."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

import perdure.errors
from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.location import shared_folder
from perdure.stores.postgres.embedded.postmaster import Postmaster, processes_of

FAST = {"fsync": "off", "shared_buffers": "16MB"}

_SOURCES = str(Path(perdure.errors.__file__).parents[2])
_PROGRAM = """
import asyncio, concurrent.futures.thread, json, sys
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries

async def main():
    async with EmbeddedPostgreSQL(sys.argv[1], settings=json.loads(sys.argv[2])) as server:
        print(json.dumps({"url": server.url, "location": str(server.location)}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)

if sys.argv[3:]:
    uid = int(sys.argv[3])
    binaries = asyncio.run(Binaries.find(18).reachable_by(Account.of(uid)))
    Binaries.find = lambda major: binaries
    Account.of(uid).become()  # only now: another user may not be able to run this Python
asyncio.run(main())
"""


class Neighbour:
    """Another process that takes a share in a project's server."""

    def __init__(self, directory: Path, account: Account | None = None) -> None:
        user = [] if account is None else [str(account.uid)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, directory, json.dumps(FAST), *user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": _SOURCES},
        )

    def joined(self) -> dict[str, str]:
        """Wait until it has its share, and return what it knows of the server."""
        assert self.process.stdout is not None
        answer: dict[str, str] = json.loads(self.process.stdout.readline())
        return answer

    def leave(self) -> None:
        self.process.communicate("\n")
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        with self.process:  # closes the pipes; a test that killed it may have closed them already
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()  # one that ended by itself has pipes that are still open


@contextlib.contextmanager
def project(home: Path) -> Generator[Path, None, None]:
    """A project's `.perdure`, of which nothing is left at the end, wherever it lived."""
    directory = home / ".perdure"
    yield directory
    for location in {directory, location_of(directory)}:
        for process in processes_of(location / "data"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(EmbeddedServerError):  # a test put a link there
            if (postmaster := Postmaster.read(location / "data")) is not None:
                shutil.rmtree(postmaster.sockets, ignore_errors=True)
        shutil.rmtree(location, ignore_errors=True)


def location_of(directory: Path) -> Path:
    record = directory / "location.txt"
    return Path(record.read_text().splitlines()[0]) if record.exists() else directory


def data_of(directory: Path) -> Path:
    return location_of(directory) / "data"


def postmaster_of(directory: Path) -> Postmaster:
    postmaster = Postmaster.read(data_of(directory))
    assert postmaster is not None
    return postmaster


def runs(directory: Path) -> bool:
    return any(processes_of(data_of(directory)))


def kill_server(directory: Path) -> None:
    """Kill it, and wait until the system has taken it down: until then it may still take a connection."""
    postmaster = postmaster_of(directory)
    os.kill(postmaster.pid, signal.SIGKILL)
    while postmaster.answers():
        time.sleep(0.001)


def wait_until_half_made(directory: Path) -> None:
    while not any(_halves(directory)):
        time.sleep(0.005)


def _halves(directory: Path) -> Iterator[Path]:
    location = location_of(directory)
    yield from location.glob("data.new-*/global")
    if os.geteuid() == 0 and location.exists():
        yield from shared_folder().glob(f"staged-{location.stat().st_uid}-*/data/global")


async def ask(server: EmbeddedPostgreSQL, query: str) -> Any:
    return await ask_url(server.url, query)


async def ask_url(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def until_gone(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(0.01)

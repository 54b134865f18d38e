"""Processes that execute exclusive commands on one counter: ``python -m tests.repository.exclusive_processes URL ...``.

Such a process says "open", waits for a line, and executes its commands one after the other. It says "act" each time its
action is called, and at the end what came of each command: its version, or the name of its error.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from perdure.errors import PerdureError
from perdure.repository import Repository, RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.counters import Counter

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def contender(
    url: str, *, commands: int = 1, seconds: float = 0.0, max_seconds: float = 600.0
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that is ready. Each of its actions takes so many seconds."""
    words = (url, str(commands), str(seconds), str(max_seconds))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.repository.exclusive_processes", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert await line_of(process) == "open"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def begin(process: asyncio.subprocess.Process) -> None:
    """Let it execute its commands."""
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def line_of(process: asyncio.subprocess.Process) -> str:
    """The next line that it says."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def rest_of(process: asyncio.subprocess.Process) -> list[str]:
    """All other lines that it says."""
    assert process.stdout is not None
    return (await process.stdout.read()).decode().split()


async def work(url: str, commands: int, seconds: float, max_seconds: float) -> None:
    """What such a process does."""

    def act(counter: Counter) -> None:
        print("act", flush=True)
        time.sleep(seconds)
        counter.count()

    async with PostgreSQLEventStore(url) as store:
        counters = Repository(Counter, store, retry=RetryConfig(max_seconds=max_seconds))
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(commands):
            try:
                result = await counters.execute("1", act, exclusive=True)
            except PerdureError as error:
                print(type(error).__name__, flush=True)
            else:
                assert result is not None
                print(result.stream_version, flush=True)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))

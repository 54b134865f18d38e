"""Faults of the application's processes: writers and projections are killed, or stand still.

Each process runs this module: ``python -m tests.faults.processes write URL FOLDER``, ``project URL LEASE`` or
``fire URL -``. It says that it has begun, and ends when its standard input does.
"""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from perdure.projections.service import ProjectionService
from perdure.projections.timers.clockwork import Clockwork
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Report, Tally, Workload
from tests.faults.stage import Stage, more

ROOT = Path(__file__).parents[2]
PROCESSES = 2
LEASE = 1.0


async def writer_killed(stage: Stage) -> Report:
    """kill -9 of a writer process"""
    server = await stage.server()
    words = ("write", server.url(), str(stage.history))
    async with stage.load(server.url()), crew(*words) as processes:
        async for number in stage.moments(0.3, 1.0):
            killed = processes[number % PROCESSES]
            killed.kill()
            await killed.wait()
            processes[number % PROCESSES] = await begun(*words)
    return await stage.judged(server.url())


async def projection_killed(stage: Stage) -> Report:
    """kill -9 of a projection process"""
    server = await stage.server()
    words = ("project", server.url(), str(LEASE))
    async with crew(*words) as processes:
        async with stage.load(server.url()):
            async for number in stage.moments(0.3, 1.0):
                killed = processes[number % PROCESSES]
                killed.kill()
                await killed.wait()
                processes[number % PROCESSES] = await begun(*words)
        return await stage.judged_with_rows(server.url())


async def projection_frozen(stage: Stage) -> Report:
    """SIGSTOP beyond a lease"""
    server = await stage.server()
    async with crew("project", server.url(), str(LEASE)) as processes:
        async with stage.load(server.url()) as workload:
            async for number in stage.moments(0.1, 0.5):
                frozen = processes[number % PROCESSES]
                frozen.send_signal(signal.SIGSTOP)
                await asyncio.sleep(LEASE * random.uniform(1.1, 2))
                await more(workload)
                frozen.send_signal(signal.SIGCONT)
        return await stage.judged_with_rows(server.url())


@asynccontextmanager
async def crew(*words: str) -> AsyncGenerator[list[asyncio.subprocess.Process]]:
    """Several processes at work; those that live at the end are told to end."""
    processes: list[asyncio.subprocess.Process] = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ended, processes)
        processes += await asyncio.gather(*[begun(*words) for _ in range(PROCESSES)])
        yield processes


async def begun(*words: str) -> asyncio.subprocess.Process:
    """A process that has begun its work."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.processes",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    return process


async def ended(processes: list[asyncio.subprocess.Process]) -> None:
    """Tell them to end, and see that they end well."""
    for process in processes:
        process.send_signal(signal.SIGCONT)
    await asyncio.gather(*[process.communicate(b"") for process in processes])
    assert [process.returncode for process in processes] == [0] * len(processes)


async def work(kind: str, url: str, last: str) -> None:
    """What such a process does."""
    async with PostgreSQLEventStore(url) as store, AsyncExitStack() as stack:
        if kind == "write":
            await stack.enter_async_context(Workload(store, last, writers=8, followers=0))
        elif kind == "fire":
            clockwork = Clockwork(store, store.tasks)
            clockwork.start()
            stack.push_async_callback(clockwork.stop)
        else:
            service = ProjectionService(store, [Tally()], segments=4, lease=float(last), batch_size=50)
            await stack.enter_async_context(service)
        print("begun", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))

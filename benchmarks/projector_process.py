"""A process that runs a projection: ``python -m benchmarks.projector_process URL NAME SEGMENTS POSITION``.

It reports when it is ready, starts on a signal of its parent, and reports when the rows are at the position.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from benchmarks.processor import most_memory
from benchmarks.systems.perdure import projection
from perdure import PostgreSQLEventStore, ProjectionService

_PATIENCE = 3600.0


class ProjectorResult(msgspec.Struct):
    """The result that a process reports at its end."""

    processor_seconds: float
    memory: float


class ProjectorProcesses:
    """The processes, from the side of the process that started them."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    async def run(self) -> list[ProjectorResult]:
        """Start all of them, and wait until the rows are at the position."""
        for process in self._processes:
            cast("asyncio.StreamWriter", process.stdin).write(b"go\n")
        return [msgspec.json.decode(await _line(process), type=ProjectorResult) for process in self._processes]


@asynccontextmanager
async def projectors(count: int, *arguments: str) -> AsyncGenerator[ProjectorProcesses]:
    """Yield a number of processes that are ready to start."""
    command = ("-m", "benchmarks.projector_process", *arguments)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE) for _ in range(count)
    ]
    try:
        for process in processes:
            await _line(process)
        yield ProjectorProcesses(processes)
        for process in processes:
            await process.communicate(b"")
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _line(process: Process) -> bytes:
    line = await cast("asyncio.StreamReader", process.stdout).readline()
    if not line:
        raise RuntimeError("a process that was to run a projection has ended")
    return line


async def _main(url: str, name: str, segments: str, position: str) -> None:
    async with PostgreSQLEventStore(url) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with ProjectionService(store, [projection(name)], segments=int(segments)) as service:
            await service.wait_for(name, int(position), timeout=_PATIENCE)
            told = ProjectorResult(time.process_time(), most_memory(os.getpid()))
            print(msgspec.json.encode(told).decode(), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

"""A process that runs a projection: ``python -m benchmarks.projecting URL NAME SEGMENTS POSITION``.

It says when it is ready, begins when it is told to, and tells when the rows show everything up to the position.
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


class Told(msgspec.Struct):
    """What a process tells at the end."""

    processor_seconds: float
    memory: float


class Projectors:
    """The processes, as the one sees them that started them."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    async def run(self) -> list[Told]:
        """Let all of them begin, and wait until the rows show everything."""
        for process in self._processes:
            cast("asyncio.StreamWriter", process.stdin).write(b"go\n")
        return [msgspec.json.decode(await _line(process), type=Told) for process in self._processes]


@asynccontextmanager
async def projectors(count: int, *arguments: str) -> AsyncGenerator[Projectors]:
    """That many processes, ready to begin."""
    command = ("-m", "benchmarks.projecting", *arguments)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE) for _ in range(count)
    ]
    try:
        for process in processes:
            await _line(process)
        yield Projectors(processes)
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
            told = Told(time.process_time(), most_memory(os.getpid()))
            print(msgspec.json.encode(told).decode(), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

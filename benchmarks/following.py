"""A process that follows the log: ``python -m benchmarks.following SYSTEM URL SERVER_PID [in-vain]``.

It says when it follows. Told a number, it waits until it has handled that many events, and tells what it handled.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from benchmarks.systems import system_named
from benchmarks.systems.system import Place, System
from examples.streaming.events import ContentWatched

_PATIENCE = 30.0
_READY = b"ready\n"
_IN_VAIN = "in-vain"


class Handled(msgspec.Struct):
    """What was handled, and how long after it was sent, in seconds."""

    numbers: list[int] = []
    latencies: list[float] = []

    def handle(self, event: ContentWatched) -> None:
        """Take an event: its user's id tells when it was sent, its seconds which it is."""
        if event.user_id.isdecimal():
            self.latencies.append((time.monotonic_ns() - int(event.user_id)) / 1e9)
        self.numbers.append(event.watch_duration_seconds)

    async def wait_for(self, count: int) -> None:
        """Return once that many were handled, or when that takes too long."""
        end = time.monotonic() + _PATIENCE
        while len(self.numbers) < count and time.monotonic() < end:  # noqa: ASYNC110 - threads handle events, too
            await asyncio.sleep(0.01)


class Elsewhere:
    """The process, as the one sees it that started it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def handled(self, count: int) -> Handled:
        """What it handled, once it handled that many events."""
        output, _ = await self._process.communicate(f"{count}\n".encode())
        return msgspec.json.decode(output, type=Handled)


@asynccontextmanager
async def followed_elsewhere(system: System, *, in_vain: bool = False) -> AsyncGenerator[Elsewhere]:
    """Let another process follow the log of a system, from now on; or wait in vain for events of a kind."""
    place = system.place
    arguments = ("-m", "benchmarks.following", system.name, place.url, str(place.server_pid), *[_IN_VAIN][:in_vain])
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    try:
        ready = await cast("asyncio.StreamReader", process.stdout).readline()
        if ready != _READY:
            raise RuntimeError(f"the process that was to follow {system.name} has ended")
        yield Elsewhere(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _main(name: str, url: str, server_pid: str, in_vain: str = "") -> None:
    async with system_named(name)(Place(url, int(server_pid))) as system:
        handled = Handled()
        async with system.follow_in_vain() if in_vain else system.follow(handled.handle):
            sys.stdout.buffer.write(_READY)
            sys.stdout.buffer.flush()
            if count := await asyncio.to_thread(sys.stdin.readline):
                await handled.wait_for(int(count))
    sys.stdout.buffer.write(msgspec.json.encode(handled))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

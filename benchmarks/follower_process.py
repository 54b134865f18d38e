"""A process that follows the log: ``python -m benchmarks.follower_process SYSTEM URL SERVER_PID [in-vain]``.

It reports when it follows. Given a number, it waits until it has handled that many events, and reports them.
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
    """The events that were handled, and their delays since they were sent, in seconds."""

    numbers: list[int] = []
    latencies: list[float] = []

    def handle(self, event: ContentWatched) -> None:
        """Handle an event. Its user id is the time when it was sent; its seconds are its number."""
        if event.user_id.isdecimal():
            self.latencies.append((time.monotonic_ns() - int(event.user_id)) / 1e9)
        self.numbers.append(event.watch_duration_seconds)

    async def wait_for(self, count: int) -> None:
        """Return once a number of events were handled, or after a time-out."""
        end = time.monotonic() + _PATIENCE
        while len(self.numbers) < count and time.monotonic() < end:  # noqa: ASYNC110 - threads handle events, too
            await asyncio.sleep(0.01)


class FollowerProcess:
    """The process, from the side of the process that started it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def handled(self, count: int) -> Handled:
        """Return the handled events, once it has handled that many."""
        output, _ = await self._process.communicate(f"{count}\n".encode())
        return msgspec.json.decode(output, type=Handled)


@asynccontextmanager
async def follow_in_process(system: System, *, in_vain: bool = False) -> AsyncGenerator[FollowerProcess]:
    """Follow the log of a system in another process, or wait there for events that never come."""
    place = system.place
    arguments = (
        "-m",
        "benchmarks.follower_process",
        system.name,
        place.url,
        str(place.server_pid),
        *[_IN_VAIN][:in_vain],
    )
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    try:
        ready = await cast("asyncio.StreamReader", process.stdout).readline()
        if ready != _READY:
            raise RuntimeError(f"the process that was to follow {system.name} has ended")
        yield FollowerProcess(process)
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

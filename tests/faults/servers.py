"""Faults of the server: its processes die, it restarts at the worst moment, it has no connection or no disk left."""

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import asyncpg

from perdure.stores.connect import choose_database, located_database
from perdure.stores.postgres.embedded.postmaster import Postmaster
from perdure.testing.checker import Report
from tests.cluster import Server
from tests.faults.stage import NotRun, Stage, insistently, more

OWN = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"


async def backend_killed(stage: Stage) -> Report:
    """kill -9 of a backend"""
    server = await stage.server()
    async with stage.load(server.url()) as workload:
        async for _ in stage.moments():
            pid = await insistently(lambda: server.value(f"{OWN} order by random() limit 1"))
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await more(workload)
    return await stage.judged(server.url())


async def server_killed(stage: Stage) -> Report:
    """kill -9 of the whole server"""
    server = await stage.server()
    async with stage.load(server.url()) as workload:
        async for _ in stage.moments(0.3, 1.5):
            await server.kill()
            await asyncio.sleep(random.uniform(0, 0.3))
            await server.start()
        await more(workload)
    return await stage.judged(server.url())


async def embedded_server_killed(stage: Stage) -> Report:
    """kill -9 of the embedded server"""
    async with located_database(choose_database(directory=stage.cluster.place("embedded"))) as (url, revive):
        async with stage.load(url, revive=revive) as workload:
            async for _ in stage.moments(0.3, 1.5):
                kill_embedded(stage.cluster.folder / "embedded")
                await more(workload)
        return await stage.judged(url)


def kill_embedded(folder: Path) -> None:
    postmaster = Postmaster.read(folder / "data")
    assert postmaster is not None
    with suppress(ProcessLookupError):
        os.kill(postmaster.pid, signal.SIGKILL)


async def killed_while_reconnecting(stage: Stage) -> Report:
    """restart during a reconnect"""
    server = await stage.server()
    async with stage.load(server.url()) as workload:
        async for _ in stage.moments(0.3, 1.0):
            await server.kill()
            for _ in range(3):
                await server.start()
                await server.until_true(f"exists ({OWN})")
                await server.kill()
            await server.start()
        await more(workload)
    return await stage.judged(server.url())


async def out_of_connections(stage: Stage) -> Report:
    """out of connections"""
    server = await stage.server(max_connections="16", superuser_reserved_connections="0", max_wal_senders="0")
    async with stage.load(server.url()) as workload:
        async for _ in stage.moments():
            async with AsyncExitStack() as taken:
                await take_all_connections(server, taken)
                await asyncio.sleep(random.uniform(0.1, 0.5))
            await more(workload)
    return await stage.judged(server.url())


async def take_all_connections(server: Server, taken: AsyncExitStack) -> None:
    """Open what is free, and what the store's sessions leave that are ended."""
    first = await insistently(server.connect)
    taken.callback(first.terminate)
    for _ in range(2):
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                one = await server.connect()
                taken.callback(one.terminate)
        await first.fetch(f"select pg_terminate_backend(pid) from ({OWN}) as others where pid % 2 = 0")


async def disk_full(stage: Stage) -> Report:
    """disk full"""
    return await _on_a_small_disk(stage, lambda server: asyncio.sleep(0))


async def disk_full_for_the_log(stage: Stage) -> Report:
    """disk full, also for the WAL"""

    async def use_up_segments(server: Server) -> None:
        # The server has made some ahead. When it can make no more, it ends itself.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            while True:
                await server.execute("select pg_logical_emit_message(true, 'fault', 'a segment isn''t empty')")
                await server.execute("select pg_switch_wal()")

    return await _on_a_small_disk(stage, use_up_segments)


async def _on_a_small_disk(stage: Stage, when_full: Callable[[Server], Awaitable[None]]) -> Report:
    folder = stage.cluster.folder / "small"
    mount(stage, folder, megabytes=160)
    server = stage.cluster._new("small")
    try:
        await server.make({**stage.settings, "min_wal_size": "32MB", "max_wal_size": "48MB"})
        await server.start()
        async with stage.load(server.url()) as workload:
            async for _ in stage.moments():
                fill(folder / "filler")
                await when_full(server)
                await asyncio.sleep(random.uniform(0.5, 1.5))
                (folder / "filler").unlink()
                await restarted(server)
                await more(workload)
        return await stage.judged(server.url())
    finally:
        await server.kill()
        unmount(folder)


def mount(stage: Stage, folder: Path, megabytes: int) -> None:
    """A disk of its own for a server."""
    folder.mkdir()
    account = stage.cluster._account
    options = f"size={megabytes}m,uid={account.uid},gid={account.gid},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        folder.rmdir()
        raise NotRun(f"needs the right to mount a small disk: {getattr(error, 'stderr', error)}".strip()) from error


def unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> None:
    """Take all that is left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65536)


async def restarted(server: Server) -> None:
    """Wait for a server, and start it again if it ended itself: PostgreSQL does so when it can't recover."""
    while not await server._answers():
        process = server._process
        if process is not None and process.poll() is not None:
            await server.start()
        await asyncio.sleep(0.02)

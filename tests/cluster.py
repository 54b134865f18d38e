"""PostgreSQL servers of a test's own: to be killed, frozen, copied, made standbys of each other and promoted.

Example:
    async with servers() as cluster:
        primary = await cluster.primary()
        standby = await cluster.standby_of(primary, synchronous=True)
        await primary.kill()
        await standby.promote()
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.postmaster import processes_of

_SETTINGS = {
    # Processes are killed here, never the machine: what the system has been given, it keeps.
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_wal_senders": "8",
    "wal_retrieve_retry_interval": "100ms",
    "log_line_prefix": "%m [%p] ",
}
_PATIENCE = 60.0
_MEMORY, _PLENTY = "/dev/shm", 4 * 2**30
_KEPT: list[socket.socket] = []


class Server:
    """A server in a folder of its own, which listens on a port of this machine and trusts everybody.

    Attributes:
        name: what it is called among its like, and by the primary that it follows.
        data: its data directory.
        port: where it listens, always the same.
    """

    def __init__(self, folder: Path, name: str, account: Account, binaries: Binaries) -> None:
        self.name = name
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.port = free_port()
        self._account = account
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection[Any]":
        """A connection, for the test's own use."""
        return await asyncpg.connect(self.url(database))

    async def execute(self, sql: str, *arguments: object, database: str = "postgres") -> None:
        """Run a statement on a connection of its own."""
        connection = await self.connect(database)
        try:
            await connection.execute(sql, *arguments)
        finally:
            await connection.close()

    async def value(self, sql: str, *arguments: object, database: str = "postgres") -> Any:
        """The first column of the first row of a statement, on a connection of its own."""
        connection = await self.connect(database)
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()

    async def start(self) -> None:
        """Start it, and wait until it takes connections.

        A killed process may still be attached to its shared memory when the system no longer lists it. Then the server
        refuses to start, and this tries again.
        """
        async with asyncio.timeout(_PATIENCE):
            while True:
                begun = self.log.stat().st_size if self.log.exists() else 0
                try:
                    await self._start_once()
                except AssertionError:
                    if b"pre-existing shared memory block" not in self.log.read_bytes()[begun:]:
                        raise
                    await asyncio.sleep(0.05)
                else:
                    return

    async def _start_once(self) -> None:
        with self.log.open("ab") as log:
            give(self._account, self.log)
            command = (self._binaries.program("postgres"), "-D", self.data, "-p", str(self.port))
            self._process = self._account.spawn(command, log.fileno(), ())
        threading.Thread(target=self._process.wait, name="reaper", daemon=True).start()
        await self._until(self._answers)

    async def stop(self, signal_number: signal.Signals = signal.SIGINT) -> None:
        """Stop it and wait until it is gone: by SIGINT after a last checkpoint, by SIGQUIT without one."""
        process, self._process = self._process, None
        if process is None:
            return
        self.thaw()
        process.send_signal(signal_number)
        await asyncio.to_thread(process.wait)

    async def kill(self) -> None:
        """kill -9 of all its processes at once, as when its machine goes away. It may be started again."""
        process, self._process = self._process, None
        if process is None:
            return
        # A session that outlives its postmaster waits for no synchronous standby, and others may read its commit.
        self.freeze()
        process.kill()
        while left := self.processes:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.001)
        await asyncio.to_thread(process.wait)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop all its processes where they are: the system still takes connections for it, and nobody answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    async def promote(self) -> None:
        """Make a standby a primary, and wait until it takes writes."""
        status, output = await self._run("pg_ctl", "promote", "-D", self.data, "-w")
        assert status == 0, output

    async def configure(self, **settings: str | None) -> None:
        """Change settings that need no restart, or with None drop what was changed so before."""
        connection = await self.connect()
        try:
            for name, value in settings.items():
                if value is None:
                    await connection.execute(f"alter system reset {name}")
                else:
                    await connection.execute(f"alter system set {name} = '{value}'")
            await connection.execute("select pg_reload_conf()")
        finally:
            await connection.close()

    async def cut_off(self) -> None:
        """Let a standby receive no more from its primary. What it has received, it replays."""
        await self.configure(primary_conninfo="")
        await self.until_true("not exists (select from pg_stat_wal_receiver)")

    async def caught_up(self, primary: "Server") -> None:
        """Wait until a standby has replayed all that its primary has written so far."""
        written = await primary.value("select pg_current_wal_insert_lsn()::text")
        await self.until_true(f"pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")

    async def backup_to(self, target: Path) -> None:
        """Copy the data directory while the server runs (pg_basebackup)."""
        status, output = await self._run(
            "pg_basebackup", "-D", target, "-d", self.url(), "--checkpoint=fast", "--no-sync", "--wal-method=stream"
        )
        assert status == 0, output

    async def until_true(self, condition: str) -> None:
        """Wait until the server finds a condition true."""
        await self._until(lambda: self.value(f"select {condition}"))

    @property
    def processes(self) -> list[int]:
        """The ids of its processes."""
        return list(processes_of(self.data))

    def add_settings(self, settings: Mapping[str, str]) -> None:
        """Add settings to its configuration file, for the next start."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def mark(self, name: str) -> None:
        """Put an empty file into its data directory: ``standby.signal``, or ``recovery.signal``."""
        (self.data / name).touch(mode=0o600)
        give(self._account, self.data / name)

    async def make(self, settings: Mapping[str, str]) -> None:
        """Make its data directory."""
        status, output = await self._run(
            "initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"
        )
        assert status == 0, output
        self.add_settings({**_SETTINGS, **settings})

    async def _run(self, program: str, *arguments: str | Path) -> tuple[int, str]:
        return await self._account.run(self._binaries.program(program), *arguments)

    async def _until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not await is_so():
                assert self._process is None or self._process.poll() is None, self.log.read_text()[-2000:]
                await asyncio.sleep(0.005)

    async def _answers(self) -> bool:
        try:
            await (await self.connect()).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        for pid in self.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Servers:
    """Makes servers, all in one folder. Made by `servers`."""

    def __init__(self, folder: Path, account: Account, binaries: Binaries) -> None:
        self.folder = folder
        self.all: list[Server] = []
        self._account = account
        self._binaries = binaries

    async def primary(self, name: str = "primary", settings: Mapping[str, str] | None = None) -> Server:
        """A new server that runs."""
        server = self._new(name)
        await server.make(settings or {})
        await server.start()
        return server

    async def copy_of(self, source: Server, name: str) -> Server:
        """A base backup of a server, as a server of its own that isn't started yet."""
        copy = self._new(name)
        await source.backup_to(copy.data)
        return copy

    async def standby_of(self, primary: Server, name: str = "standby", *, synchronous: bool = False) -> Server:
        """A server that follows another by streaming replication, and runs. Synchronous: every commit waits for it."""
        standby = await self.copy_of(primary, name)
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={name}"
        standby.add_settings({"primary_conninfo": source})
        standby.mark("standby.signal")
        await standby.start()
        if synchronous:
            await primary.configure(synchronous_standby_names=name)
        state = "sync_state = 'sync'" if synchronous else "state = 'streaming'"
        await primary.until_true(
            f"exists (select from pg_stat_replication where application_name = '{name}' and {state})"
        )
        return standby

    def place(self, name: str) -> Path:
        """A folder that the servers can write, as for backups and archived WAL."""
        folder = self.folder / name
        folder.mkdir()
        give(self._account, folder)
        return folder

    def _new(self, name: str) -> Server:
        server = Server(self.folder, name, self._account, self._binaries)
        self.all.append(server)
        return server


@asynccontextmanager
async def servers(*, on_disk: bool = False) -> AsyncGenerator[Servers]:
    """A folder for servers, all of which are killed at the end."""
    major = int(os.environ.get("PERDURE_TEST_MAJOR", "18"))
    folder, account = _folder(None if on_disk else in_memory())
    cluster = Servers(folder, account, await Binaries.find(major).reachable_by(account))
    try:
        yield cluster
    finally:
        for server in cluster.all:
            await server.kill()
        shutil.rmtree(folder)


def in_memory() -> str | None:
    """Where servers that are thrown away live, since to copy a database takes a third of the time there than on a disk.

    None where there isn't plenty of room.
    """
    try:
        return _MEMORY if shutil.disk_usage(_MEMORY).free >= _PLENTY and os.access(_MEMORY, os.W_OK) else None
    except OSError:
        return None


def _folder(parent: str | None) -> tuple[Path, Account]:
    folder = Path(tempfile.mkdtemp(prefix="perdure-servers-", dir=parent)).resolve()
    account = unprivileged()
    folder.chmod(0o711)
    give(account, folder)
    return folder, account


def unprivileged() -> Account:
    """The user that servers and their programs run as: ourselves, or for root one that the system lists."""
    return Account.listed() if os.geteuid() == 0 else Account.of(os.geteuid())


def give(account: Account, path: Path) -> None:
    """Make the account the owner of a file or folder."""
    if account.is_other_user:
        os.chown(path, account.uid, account.gid)


def url_of(*several: Server, database: str = "postgres", **parameters: str) -> str:
    """A URL that names several servers."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in several)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://postgres@{hosts}/{database}" + (f"?{query}" if query else "")


def free_port() -> int:
    """A port of this machine on which nobody listens. The system gives it to nobody else while this process runs.

    A socket that doesn't listen keeps the port. On Linux, a server that sets SO_REUSEADDR can still listen there, and
    can be started again and again. PostgreSQL, pgbouncer and asyncio set it.
    """
    kept = socket.socket()
    _KEPT.append(kept)
    kept.bind(("127.0.0.1", 0))
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before, or it might share another's port
    port = int(kept.getsockname()[1])
    if sys.platform != "linux":
        kept.close()
    return port

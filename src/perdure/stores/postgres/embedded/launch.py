"""Starts and stops the processes of the server.

The server itself holds `server.lock`: it inherits the locked file, and so do its child processes. If the lock is free,
no process of the server is left, even after a kill -9, when process ids may have been reused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.cluster import configure, make_cluster
from perdure.stores.postgres.embedded.endpoint import Endpoint
from perdure.stores.postgres.embedded.location import ServerLocation
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.postmaster import Postmaster, forget, interrupt, processes_of, send_signal

_LOCK = "server.lock"
_POLL = 0.01
_START_PATIENCE = 120.0  # recovery from a crash may take long
_STOP_PATIENCE = 60.0
_ORPHAN_PATIENCE = 1.0
_LOG_LIMIT = 4_000_000
_LONGEST_TAIL = 100_000
_TAIL_LINES = 15


@dataclass(frozen=True)
class Launch:
    """How to start the server at a location."""

    location: ServerLocation
    binaries: Binaries
    settings: Mapping[str, str]
    tcp: bool
    staged: Path | None = None
    """The staging folder with a data directory that root created."""

    @classmethod
    def requested(cls, request: Mapping[str, Any]) -> Launch:
        """Return the launch from the request of an action, for the user of this process."""
        return cls(
            ServerLocation(Path(request["location"]), Account.of(os.geteuid())),
            Binaries(request["major"], Path(request["package"])),
            request["settings"],
            request["tcp"],
            Path(request["staged"]) if request["staged"] else None,
        )

    def request(self) -> dict[str, Any]:
        """Return the request for an action that needs this launch."""
        return {
            "location": str(self.location.path),
            "major": self.binaries.major,
            "package": str(self.binaries.package),
            "settings": dict(self.settings),
            "tcp": self.tcp,
            "staged": self.staged and str(self.staged),
        }

    def running(self) -> Postmaster | None:
        """Return the server if it accepts connections, else None."""
        postmaster = Postmaster.read(self.location.data)
        return postmaster if postmaster and postmaster.answers() else None

    async def ensure_running(self) -> Postmaster:
        """Return the running server. If none runs, start it, after the processes of a dead one have ended."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < _START_PATIENCE:
            if running := self.running():
                return running
            lock = FileLock.on(self.location.path / _LOCK)
            try:
                if lock.try_exclusive() and (started := await self._start(lock)):
                    return started
            finally:
                lock.close()
            if waited > _ORPHAN_PATIENCE:
                self._end_orphans()
            await asyncio.sleep(_POLL)
        raise EmbeddedServerError(
            f"a process uses {self.location.data}, but accepts no connections: end the processes that use that folder"
        )

    async def stop(self) -> None:
        """Stop the server. It ends all sessions and writes all data to disk."""
        if not self._is_free():
            interrupt(self.location.data)
        begun = time.monotonic()
        while not self._is_free():
            if (waited := time.monotonic() - begun) > _STOP_PATIENCE:
                raise EmbeddedServerError(
                    f"the server in {self.location.data} doesn't stop; its log is {self.location.log}"
                )
            if waited > _ORPHAN_PATIENCE:
                self._end_orphans()
            await asyncio.sleep(_POLL)
        Endpoint.release(self.location)

    async def _start(self, lock: FileLock) -> Postmaster | None:
        await make_cluster(self.location, self.binaries, self.settings, lock, self.staged)
        endpoint = Endpoint.choose(self.location, tcp=self.tcp)
        configure(self.location, self.settings, endpoint)
        forget(self.location.data)
        log = self._open_log()
        try:
            begin = os.fstat(log).st_size
            command = (self.binaries.program("postgres"), "-D", self.location.data)
            process = self.location.account.spawn(command, log, (lock.fd,))
        finally:
            os.close(log)
        # Without a wait, the ended server would remain as a zombie process until this process ends.
        threading.Thread(target=process.wait, name="perdure-embedded-reaper", daemon=True).start()
        try:
            return await self._ready(process, begin)
        except asyncio.CancelledError:
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(process.wait)
            raise
        finally:
            if process.poll() is not None:
                Endpoint.release(self.location)

    async def _ready(self, process: subprocess.Popen[bytes], begin: int) -> Postmaster | None:
        begun = time.monotonic()
        while time.monotonic() - begun < _START_PATIENCE:
            if running := self.running():
                return running
            if process.poll() == -signal.SIGKILL:  # killed from outside, not a fault of the server: try again
                return None
            if process.poll() is not None:
                raise EmbeddedServerError(f"the server doesn't start in {self.location.data}: {self._log_tail(begin)}")
            await asyncio.sleep(_POLL)
        raise EmbeddedServerError(
            f"the server in {self.location.data} isn't ready yet, try again: {self._log_tail(begin)}"
        )

    def _is_free(self) -> bool:
        lock = FileLock.on(self.location.path / _LOCK)
        try:
            return lock.try_exclusive()
        finally:
            lock.close()

    def _end_orphans(self) -> None:
        # Sessions notice the death of their postmaster when they wait. One that computes goes on, and no new server can
        # start beside it.
        processes = set(processes_of(self.location.data))
        postmaster = Postmaster.read(self.location.data)
        if postmaster and postmaster.pid in processes:
            return
        for process in processes:
            send_signal(process, self.location.data, signal.SIGKILL)

    def _open_log(self) -> int:
        name, flags = self.location.log.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with self.location.folder() as folder:
            log = folder.open_file(name, flags)
            if os.fstat(log).st_size > _LOG_LIMIT:
                os.close(log)
                folder.rename(name, f"{name}.old")
                log = folder.open_file(name, flags)
        return log

    def _log_tail(self, begin: int) -> str:
        with (
            self.location.folder() as folder,
            os.fdopen(folder.open_file(self.location.log.name, os.O_RDONLY), "rb") as log,
        ):
            log.seek(max(begin, os.fstat(log.fileno()).st_size - _LONGEST_TAIL))
            lines = log.read(_LONGEST_TAIL).decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "it wrote nothing to its log"

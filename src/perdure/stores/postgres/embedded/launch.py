"""Starting and stopping the server's processes.

`server.lock` is held by the server itself: it inherits the locked file, and so do its processes. Whoever gets the lock
knows that none of them is left, also after a kill -9, when process ids may lie.
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
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.place import Place
from perdure.stores.postgres.embedded.postmaster import Postmaster, forget, interrupt, processes_of, send_signal

_LOCK = "server.lock"
_POLL = 0.01
_START_PATIENCE = 120.0  # recovering from a crash may take long
_STOP_PATIENCE = 60.0
_ORPHAN_PATIENCE = 1.0
_LOG_LIMIT = 4_000_000
_LONGEST_TOLD = 100_000
_LINES_TOLD = 15


@dataclass(frozen=True)
class Launch:
    """How the server of a place is started."""

    place: Place
    binaries: Binaries
    settings: Mapping[str, str]
    tcp: bool
    staged: Path | None = None
    """Where root has made a data directory for it."""

    @classmethod
    def requested(cls, request: Mapping[str, Any]) -> Launch:
        """What an errand is asked to start, as the user that it is done as."""
        return cls(
            Place(Path(request["place"]), Account.of(os.geteuid())),
            Binaries(request["major"], Path(request["package"])),
            request["settings"],
            request["tcp"],
            Path(request["staged"]) if request["staged"] else None,
        )

    def request(self) -> dict[str, Any]:
        """What an errand needs to know of it."""
        return {
            "place": str(self.place.path),
            "major": self.binaries.major,
            "package": str(self.binaries.package),
            "settings": dict(self.settings),
            "tcp": self.tcp,
            "staged": self.staged and str(self.staged),
        }

    def running(self) -> Postmaster | None:
        """Return the server if it takes connections."""
        postmaster = Postmaster.read(self.place.data)
        return postmaster if postmaster and postmaster.answers() else None

    async def up(self) -> Postmaster:
        """Return the server that runs. If none does, start it, once what is left of a dead one is gone."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < _START_PATIENCE:
            if running := self.running():
                return running
            lock = FileLock.on(self.place.path / _LOCK)
            try:
                if lock.try_exclusive() and (started := await self._start(lock)):
                    return started
            finally:
                lock.close()
            if waited > _ORPHAN_PATIENCE:
                self._end_orphans()
            await asyncio.sleep(_POLL)
        raise EmbeddedServerError(
            f"something holds {self.place.data} but takes no connections: end the processes that use that folder"
        )

    async def down(self) -> None:
        """Stop the server: it ends all sessions and writes everything out."""
        if not self._is_free():
            interrupt(self.place.data)
        begun = time.monotonic()
        while not self._is_free():
            if (waited := time.monotonic() - begun) > _STOP_PATIENCE:
                raise EmbeddedServerError(f"the server in {self.place.data} doesn't stop; its log is {self.place.log}")
            if waited > _ORPHAN_PATIENCE:
                self._end_orphans()
            await asyncio.sleep(_POLL)
        Endpoint.release(self.place)

    async def _start(self, lock: FileLock) -> Postmaster | None:
        await make_cluster(self.place, self.binaries, self.settings, lock, self.staged)
        endpoint = Endpoint.choose(self.place, tcp=self.tcp)
        configure(self.place, self.settings, endpoint)
        forget(self.place.data)
        log = self._open_log()
        try:
            begin = os.fstat(log).st_size
            command = (self.binaries.program("postgres"), "-D", self.place.data)
            process = self.place.account.spawn(command, log, (lock.fd,))
        finally:
            os.close(log)
        # Otherwise the server, once dead, would stay in the list of processes for as long as we live.
        threading.Thread(target=process.wait, name="perdure-embedded-reaper", daemon=True).start()
        try:
            return await self._ready(process, begin)
        except asyncio.CancelledError:
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(process.wait)
            raise
        finally:
            if process.poll() is not None:
                Endpoint.release(self.place)

    async def _ready(self, process: subprocess.Popen[bytes], begin: int) -> Postmaster | None:
        begun = time.monotonic()
        while time.monotonic() - begun < _START_PATIENCE:
            if running := self.running():
                return running
            if process.poll() == -signal.SIGKILL:  # somebody's doing, not a fault of its own: try again
                return None
            if process.poll() is not None:
                raise EmbeddedServerError(f"the server doesn't start in {self.place.data}: {self._told(begin)}")
            await asyncio.sleep(_POLL)
        raise EmbeddedServerError(f"the server in {self.place.data} isn't ready yet, try again: {self._told(begin)}")

    def _is_free(self) -> bool:
        lock = FileLock.on(self.place.path / _LOCK)
        try:
            return lock.try_exclusive()
        finally:
            lock.close()

    def _end_orphans(self) -> None:
        # Sessions notice the death of their postmaster when they wait, but one that computes goes on for as long as it
        # likes, and no new server can start beside it.
        processes = set(processes_of(self.place.data))
        postmaster = Postmaster.read(self.place.data)
        if postmaster and postmaster.pid in processes:
            return
        for process in processes:
            send_signal(process, self.place.data, signal.SIGKILL)

    def _open_log(self) -> int:
        name, flags = self.place.log.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with self.place.folder() as folder:
            log = folder.open_file(name, flags)
            if os.fstat(log).st_size > _LOG_LIMIT:
                os.close(log)
                folder.rename(name, f"{name}.old")
                log = folder.open_file(name, flags)
        return log

    def _told(self, begin: int) -> str:
        with self.place.folder() as folder, os.fdopen(folder.open_file(self.place.log.name, os.O_RDONLY), "rb") as log:
            log.seek(max(begin, os.fstat(log.fileno()).st_size - _LONGEST_TOLD))
            lines = log.read(_LONGEST_TOLD).decode(errors="replace").splitlines()
        return "\n".join(lines[-_LINES_TOLD:]) or "it wrote nothing to its log"

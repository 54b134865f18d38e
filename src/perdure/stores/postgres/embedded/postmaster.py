"""Finds and signals the server of a data directory, by its `postmaster.pid`, its socket and /proc."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from perdure.stores.postgres.embedded.files import Folder, check_own_folder

_FILE: Final = "postmaster.pid"
_PROCESSES: Final = Path("/proc")
_START_TIME: Final = 19  # the index among the fields of /proc/PID/stat after the name of the program


@dataclass(frozen=True)
class Postmaster:
    """The last server that started on a data directory."""

    pid: int
    port: int
    sockets: Path
    tcp: bool
    ready: bool

    @classmethod
    def read(cls, data: Path) -> Postmaster | None:
        """Read the file that the server wrote; None if it is missing or incomplete."""
        try:
            with Folder.open(data) as folder:
                lines = (folder.read(_FILE) or "").splitlines()
            pid, port, sockets, addresses, status = (lines[number] for number in (0, 3, 4, 5, 7))
            return cls(int(pid), int(port), Path(sockets), bool(addresses), status.strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def encoded(self, password: str) -> str:
        """Return it as text, with the password of the superuser."""
        return json.dumps({**asdict(self), "sockets": str(self.sockets), "password": password})

    @classmethod
    def decoded(cls, text: str) -> tuple[Self, str]:
        """Return the server and the password from the text of `encoded`."""
        known = json.loads(text)
        sockets, tcp, ready = Path(known["sockets"]), known["tcp"], known["ready"]
        return cls(known["pid"], known["port"], sockets, tcp, ready), known["password"]

    def answers(self) -> bool:
        """Return whether it accepts connections. The file alone doesn't prove it, because it survives a kill -9."""
        if not self.ready:
            return False
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0)  # a local socket connects at once or not at all
            try:
                client.connect(str(self.sockets / f".s.PGSQL.{self.port}"))
            except BlockingIOError:  # its queue is full, so it is running
                return True
            except OSError:
                return False
        return True


def interrupt(data: Path) -> None:
    """Request a fast shutdown of the server: send SIGINT to the oldest process on the data directory.

    The file is used only on systems without /proc, because another process may have reused the id in it.
    """
    found = list(processes_of(data))
    if not _PROCESSES.exists() and (postmaster := Postmaster.read(data)):
        found = [postmaster.pid]
    if found:
        send_signal(min(found, key=_started), data, signal.SIGINT)


def processes_of(data: Path) -> Iterator[int]:
    """Yield the PostgreSQL processes on a data directory. Yields none on systems without /proc."""
    for entry in _PROCESSES.glob("[0-9]*"):
        if _works_in(int(entry.name), data):
            yield int(entry.name)


def send_signal(pid: int, data: Path, number: signal.Signals) -> None:
    """Send a signal to a PostgreSQL process on a data directory, but not to another process that reused its id."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not _PROCESSES.exists():
            os.kill(pid, number)
        elif hasattr(os, "pidfd_open"):
            # It refers to the process that has the id now, even if another one reuses the id.
            process = os.pidfd_open(pid)
            try:
                if _works_in(pid, data):
                    signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)
        else:
            begun = _started(pid)
            if _works_in(pid, data) and _started(pid) == begun:
                os.kill(pid, number)


def forget(data: Path) -> None:
    """Remove the file of a dead server, because another process may have reused the id in it.

    The caller holds the lock, so the server is dead. But a server that was started by hand has no lock.
    """
    if check_own_folder(data) and Path("/proc/self").exists() and not any(processes_of(data)):
        with Folder.open(data) as folder:
            folder.remove(_FILE)


def _works_in(pid: int, data: Path) -> bool:
    entry = _PROCESSES / str(pid)
    try:
        program, folder = (entry / "exe").readlink(), (entry / "cwd").readlink()
    except OSError:
        return False
    return folder == data and program.name.startswith("postgres")  # a shell may have the same working directory


def _started(pid: int) -> int:
    try:
        # The name of the program may contain anything, but ends with the last bracket.
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(fields[_START_TIME])
    except OSError:
        return 0

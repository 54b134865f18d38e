"""What runs on a data directory, as its `postmaster.pid`, its socket and the system tell."""

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
_START_TIME: Final = 19  # among the fields of /proc/PID/stat that follow the program's name


@dataclass(frozen=True)
class Postmaster:
    """The server that last started on a data directory."""

    pid: int
    port: int
    sockets: Path
    tcp: bool
    ready: bool

    @classmethod
    def read(cls, data: Path) -> Postmaster | None:
        """Read what the server wrote about itself; None when it wrote nothing, or not all of it yet."""
        try:
            with Folder.open(data) as folder:
                lines = (folder.read(_FILE) or "").splitlines()
            pid, port, sockets, addresses, status = (lines[number] for number in (0, 3, 4, 5, 7))
            return cls(int(pid), int(port), Path(sockets), bool(addresses), status.strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def encoded(self, password: str) -> str:
        """All of it as text, with the superuser's password."""
        return json.dumps({**asdict(self), "sockets": str(self.sockets), "password": password})

    @classmethod
    def decoded(cls, text: str) -> tuple[Self, str]:
        """The opposite of `encoded`."""
        known = json.loads(text)
        sockets, tcp, ready = Path(known["sockets"]), known["tcp"], known["ready"]
        return cls(known["pid"], known["port"], sockets, tcp, ready), known["password"]

    def answers(self) -> bool:
        """Tell whether it takes connections. The file alone proves nothing: it survives a kill -9."""
        if not self.ready:
            return False
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0)  # a local socket connects at once or not at all
            try:
                client.connect(str(self.sockets / f".s.PGSQL.{self.port}"))
            except BlockingIOError:  # its queue is full, so it lives
                return True
            except OSError:
                return False
        return True


def interrupt(data: Path) -> None:
    """Ask a server to stop: of all processes on the data directory, the one that started first.

    Its file is believed only where the system doesn't tell: it may name a process that has the id by now, or any other.
    """
    found = list(processes_of(data))
    if not _PROCESSES.exists() and (postmaster := Postmaster.read(data)):
        found = [postmaster.pid]
    if found:
        send_signal(min(found, key=_started), data, signal.SIGINT)


def processes_of(data: Path) -> Iterator[int]:
    """Find the processes of PostgreSQL that work in a data directory. Finds none on systems without /proc."""
    for entry in _PROCESSES.glob("[0-9]*"):
        if _works_in(int(entry.name), data):
            yield int(entry.name)


def send_signal(pid: int, data: Path, number: signal.Signals) -> None:
    """Signal a process of PostgreSQL that works in a data directory. Another that has its id by now gets none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not _PROCESSES.exists():
            os.kill(pid, number)
        elif hasattr(os, "pidfd_open"):
            # It stands for the process that has the id now, whichever has it later.
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
    """Remove what a dead server left, whose process id may belong to somebody else by now.

    The caller knows by the lock that the server is dead; a server that was started by hand holds no lock, though.
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
    return folder == data and program.name.startswith("postgres")  # a shell may stand in the folder, too


def _started(pid: int) -> int:
    """When a process started, in the system's own unit; 0 when it is gone."""
    try:
        # The program's name may hold anything, but ends with the last bracket.
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(fields[_START_TIME])
    except OSError:
        return 0

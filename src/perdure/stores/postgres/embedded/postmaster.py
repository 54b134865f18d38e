"""What runs on a data directory, as its `postmaster.pid`, its socket and the system tell."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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
            lines = (data / "postmaster.pid").read_text().splitlines()
            pid, port, sockets, addresses, status = (lines[number] for number in (0, 3, 4, 5, 7))
            return cls(int(pid), int(port), Path(sockets), bool(addresses), status.strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None

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


def processes_of(data: Path) -> Iterator[int]:
    """Find the processes of PostgreSQL that work in a data directory. Finds none on systems without /proc."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            program, folder = (entry / "exe").readlink(), (entry / "cwd").readlink()
        except OSError:
            continue
        if folder == data and program.name.startswith("postgres"):  # a shell may stand in the folder, too
            yield int(entry.name)


def forget(data: Path) -> None:
    """Remove what a dead server left, whose process id may belong to somebody else by now.

    The caller knows by the lock that the server is dead; a server that was started by hand holds no lock, though.
    """
    if Path("/proc/self").exists() and not any(processes_of(data)):
        (data / "postmaster.pid").unlink(missing_ok=True)

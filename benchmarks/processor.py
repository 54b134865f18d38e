"""How much processor time the client and the server take. The server's is known on Linux only."""

import os
import time
from pathlib import Path
from typing import NamedTuple

_PROCESSES = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")


class ProcessorTime(NamedTuple):
    """Seconds of processor time that were taken up to now."""

    client: float
    server: float

    def since(self, earlier: "ProcessorTime") -> "ProcessorTime":
        return ProcessorTime(self.client - earlier.client, self.server - earlier.server)


def processor_time(server_pid: int) -> ProcessorTime:
    """That of this process, and of a server with all its processes, those included that have ended."""
    return ProcessorTime(time.process_time(), _taken_by(server_pid))


def most_memory(pid: int) -> float:
    """The most memory that a process took up to now, in megabytes; 0 when that can't be known."""
    try:
        lines = (_PROCESSES / str(pid) / "status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def parent_of(pid: int) -> int:
    """The process that started another; 0 when that can't be known."""
    fields = _status(pid)
    return int(fields[1]) if fields else 0


def _taken_by(pid: int) -> float:
    # Those of children count for the parent once they have ended, so nothing is lost.
    parents = {int(one.name): parent_of(int(one.name)) for one in _PROCESSES.glob("[0-9]*")}
    family = [pid] + [child for child, parent in parents.items() if parent == pid]
    return sum(sum(map(int, fields[11:15])) for one in family if (fields := _status(one))) / _TICK


def _status(pid: int) -> list[str]:
    """What the kernel says of a process after its name: state, parent ..., and from the 12th on the times."""
    try:
        text = (_PROCESSES / str(pid) / "stat").read_text("utf-8")
    except OSError:
        return []
    return text.rpartition(")")[2].split()

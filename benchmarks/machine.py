"""On what a run was made: figures of different machines can't be compared, only their ratios."""

import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

import msgspec

from benchmarks.server import ON_DISK, Server
from benchmarks.systems.system import System


class Machine(msgspec.Struct):
    """What bears on the figures."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    sync_microseconds: float
    """How long the disk takes to keep 8 kB for good."""
    versions: dict[str, str]


def this_machine(server: Server, systems: Sequence[type[System]]) -> Machine:
    """The machine that this runs on."""
    versions = {"Python": platform.python_version(), "PostgreSQL": server.version}
    versions |= {name: version(name) for name in ("perdure", "asyncpg", "msgspec")}
    versions |= {system.name: system.version() for system in systems if system.version()}
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        sync_microseconds=round(_sync_microseconds()),
        versions=versions,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _sync_microseconds() -> float:
    times: list[float] = []
    with TemporaryFile(dir=ON_DISK if os.access(ON_DISK, os.W_OK) else None, buffering=0) as file:
        for _ in range(100):
            file.write(bytes(8192))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1e6 * median(times)

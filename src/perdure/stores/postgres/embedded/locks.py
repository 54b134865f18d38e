"""File locks that the kernel gives up for a process that dies, however it dies.

The lock belongs to the open file, not to the process: a forked child shares it, and a server that inherits the open
file holds it for as long as any of its processes lives.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

_FIRST_DELAY, _LONGEST_DELAY = 0.002, 0.05


class FileLock:
    """A lock on a file or a folder. Several objects exclude each other, within a process as between processes."""

    def __init__(self, path: Path) -> None:
        self.fd = _open(path)
        self._pid = os.getpid()

    def try_shared(self) -> bool:
        """Lock it together with others, if nobody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Lock it alone, if nobody has it. A share that we hold may be lost when it fails."""
        return self._try(fcntl.LOCK_EX)

    @property
    def inherited(self) -> bool:
        """Whether it came from a parent by fork, and so isn't ours to change."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """Give it up, but for processes that inherited it."""
        os.close(self.fd)

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self.fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def exclusively(path: Path) -> AsyncGenerator[None, None]:
    """Hold the lock on a file or a folder alone, waiting for it without blocking the event loop."""
    lock = FileLock(path)
    try:
        delay = _FIRST_DELAY
        while not lock.try_exclusive():
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
        yield
    finally:
        lock.close()


def _open(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        # The folder's owner must be able to join what root started there.
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd

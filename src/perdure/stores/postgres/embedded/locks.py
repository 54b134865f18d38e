"""File locks, which the kernel releases when a process dies in any way.

The lock belongs to the open file, not to the process: a forked child shares it, and a server that inherits the open
file holds it until all its processes have ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from perdure.stores.postgres.embedded.files import Folder

_FIRST_DELAY, _LONGEST_DELAY = 0.002, 0.05


class FileLock:
    """A lock on an open file or folder. Lock objects exclude each other, also within a process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._pid = os.getpid()

    @classmethod
    def on(cls, path: Path) -> Self:
        """Return the lock of a file, which is created if it is missing."""
        with Folder.open(path.parent) as folder:
            return cls(folder.open_file(path.name, os.O_RDWR | os.O_CREAT))

    def try_shared(self) -> bool:
        """Take a shared lock, unless another lock is exclusive. Return whether it was taken."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take an exclusive lock, unless there are other locks. A failure may lose a shared lock that was held."""
        return self._try(fcntl.LOCK_EX)

    @property
    def inherited(self) -> bool:
        """Whether it comes from a parent process by fork, and so mustn't be changed here."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """Close the file. The lock remains with processes that inherited it."""
        os.close(self.fd)

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self.fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def exclusively(lock: FileLock) -> AsyncGenerator[None, None]:
    """Hold an exclusive lock in the block. Wait for it without blocking the event loop, and close it at the end."""
    try:
        delay = _FIRST_DELAY
        while not lock.try_exclusive():
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
        yield
    finally:
        lock.close()

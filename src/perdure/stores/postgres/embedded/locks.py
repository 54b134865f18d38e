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
from typing import Self

from perdure.stores.postgres.embedded.files import Folder

_FIRST_DELAY, _LONGEST_DELAY = 0.002, 0.05


class FileLock:
    """A lock on an open file or folder. Several objects exclude each other, within a process as between processes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._pid = os.getpid()

    @classmethod
    def on(cls, path: Path) -> Self:
        """The lock of a file, which is made if it isn't there."""
        with Folder.open(path.parent) as folder:
            return cls(folder.open_file(path.name, os.O_RDWR | os.O_CREAT))

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
async def exclusively(lock: FileLock) -> AsyncGenerator[None, None]:
    """Hold a lock alone, waiting for it without blocking the event loop; close it at the end."""
    try:
        delay = _FIRST_DELAY
        while not lock.try_exclusive():
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
        yield
    finally:
        lock.close()

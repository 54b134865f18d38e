"""Ctrl-C and SIGTERM, for commands that go on until they are told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@asynccontextmanager
async def stop_asked() -> AsyncGenerator[asyncio.Event]:
    """An event that is set once the process is told to end. Told again, it is interrupted."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def ask() -> None:
        if asked.is_set() and task is not None:
            task.cancel()
        asked.set()

    for ending in _ENDING:
        loop.add_signal_handler(ending, ask)
    try:
        yield asked
    finally:
        for ending in _ENDING:
            loop.remove_signal_handler(ending)

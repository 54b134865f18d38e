"""Stops streaming commands on Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@asynccontextmanager
async def stop_requested() -> AsyncGenerator[asyncio.Event]:
    """Yield an event that the first signal sets. A second signal cancels the current task."""
    requested = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def request_stop() -> None:
        if requested.is_set() and task is not None:
            task.cancel()
        requested.set()

    for ending in _ENDING:
        loop.add_signal_handler(ending, request_stop)
    try:
        yield requested
    finally:
        for ending in _ENDING:
            loop.remove_signal_handler(ending)

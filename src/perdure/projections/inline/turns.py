"""Turns at streams: the appends of a process go to each stream in the order in which they were called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """Lets one caller at a time through to each stream. The others wait here, where they take no connection."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def at(self, stream_ids: Iterable[str]) -> AsyncGenerator[None]:
        """One's turn at all of these streams. In the order of their ids, so that nobody waits for each other."""
        locks = [self._locks.setdefault(stream_id, asyncio.Lock()) for stream_id in sorted(set(stream_ids))]
        async with AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
            yield

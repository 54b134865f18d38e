"""Locks of streams within a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class StreamLocks:
    """A lock for each stream. Callers that wait here take no connection, as they would in a database."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, stream_ids: Iterable[str]) -> AsyncGenerator[None]:
        """Hold the locks of these streams. They are taken in the order of the ids, so that no deadlock is possible."""
        locks = [self._locks.setdefault(stream_id, asyncio.Lock()) for stream_id in sorted(set(stream_ids))]
        async with AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
            yield

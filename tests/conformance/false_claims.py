"""Stores that claim a capability that they haven't, hide one that they have, or lock badly. See `broken_stores`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from perdure.capability import Capability
from perdure.stores.memory import InMemoryEventStore


class ClaimsTransactions(InMemoryEventStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {"transactions"}


class ClaimsNotifications(InMemoryEventStore):
    """The suite isn't told how to test them."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {"notifications"}


class ClaimsMore(InMemoryEventStore):
    @property
    def capabilities(self) -> Any:
        return super().capabilities | {"archive"}


class HidesItsSnapshots(InMemoryEventStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()


class LocksNothing(InMemoryEventStore):
    @asynccontextmanager
    async def exclusively(self, stream_id: str, timeout: float) -> AsyncGenerator[None]:
        yield None


class LocksAllStreamsAtOnce(InMemoryEventStore):
    @asynccontextmanager
    async def exclusively(self, stream_id: str, timeout: float) -> AsyncGenerator[None]:
        async with super().exclusively("note-0", min(timeout, 0.1)):
            yield None


class KeepsItsLocksAfterErrors(InMemoryEventStore):
    @asynccontextmanager
    async def exclusively(self, stream_id: str, timeout: float) -> AsyncGenerator[None]:
        lock = super().exclusively(stream_id, timeout)
        await lock.__aenter__()
        self._kept = lock
        yield None
        await lock.__aexit__(None, None, None)

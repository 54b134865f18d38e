"""What a store offers beyond the promises of every store. The test report shows which capabilities were tested."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import get_args

import pytest

from perdure.capability import Capability
from perdure.commit import ANY
from perdure.errors import AggregateBusyError, TransactionError, UnsupportedOperationError
from perdure.health import ready
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.testing.conformance.samples import notes, texts
from perdure.testing.conformance.snapshots import taken
from perdure.transaction import Transaction

PATIENCE = 10.0
"""Seconds after which a missing notification counts as lost."""


class Deliberate(Exception):  # noqa: N818 - it stands for any error
    """Rolls a transaction back."""


class Capabilities:
    """The part of the suite on capabilities: one test for each, skipped where the store doesn't claim it.

    ``pytest -v`` shows which capabilities of a store were tested, and ``-rs`` which it doesn't claim.
    """

    def another_store(self, store: EventStore) -> EventStore:
        """Return a store on the same data that isn't open yet, as another process would make it.

        Override it for a store that claims ``notifications``.
        """
        pytest.fail(f"{type(store).__name__} claims notifications, which are untested: override another_store()")

    @pytest.mark.parametrize("capability", get_args(Capability))
    async def test_a_capability_that_is_claimed_is_there(self, store: EventStore, capability: Capability) -> None:
        if capability not in store.capabilities:
            pytest.skip(f"{type(store).__name__} doesn't claim it")
        checks: dict[Capability, Callable[[EventStore], Awaitable[None]]] = {
            "database": self.check_database,
            "notifications": self.check_listening,
            "snapshots": self.check_snapshots,
            "transactions": self.check_transactions,
        }
        await checks[capability](store)

    async def test_one_block_at_a_time_holds_a_stream(self, store: EventStore) -> None:
        async def add(text: str) -> None:
            async with store.exclusively("note-1", PATIENCE) as tx:
                version = await store.stream_version("note-1", tx=tx)
                await asyncio.sleep(0.01)
                await store.append_to_stream("note-1", version, notes(text), tx=tx)

        try:
            await add("a")
        except UnsupportedOperationError:
            pytest.skip(f"{type(store).__name__} has no transactions")
        await asyncio.gather(*[add(text) for text in "bcd"])
        assert sorted(texts(await store.read_stream("note-1"))) == ["a", "b", "c", "d"]

        with suppress(Deliberate):
            async with store.exclusively("note-1", 0), store.exclusively("note-2", 0):
                for timeout in (0, 0.05):
                    with pytest.raises(AggregateBusyError):
                        async with store.exclusively("note-1", timeout):
                            pass
                raise Deliberate
        async with store.exclusively("note-1", 0):
            pass

    async def test_no_capability_is_claimed_that_this_suite_does_not_test(
        self, store: EventStore, record_property: Callable[[str, object], None]
    ) -> None:
        record_property("capabilities", ", ".join(sorted(store.capabilities)))

        assert store.capabilities <= {*get_args(Capability)}

    async def test_a_capability_that_is_not_claimed_is_not_there(self, store: EventStore) -> None:
        assert ("database" in store.capabilities) == (store.database is not None)
        assert ("snapshots" in store.capabilities) == (store.snapshots is not None)
        if "transactions" not in store.capabilities:
            with pytest.raises(UnsupportedOperationError):
                store.transaction()
            with pytest.raises(UnsupportedOperationError):
                await store.read_stream("note-1", tx=Transaction())

    async def check_database(self, store: EventStore) -> None:
        """Projections and health checks find the database."""
        assert database_of(store) is store.database
        health = await ready(store, timeout=PATIENCE)
        assert {check.name for check in health.checks} == {"tasks", "database", "schema", "listener"}
        assert health.is_ok

    async def check_listening(self, store: EventStore) -> None:
        """Appends notify another process. Otherwise a follower would find them late, and nothing would be announced."""
        async with self.another_store(store) as other:
            other.subscribe()
            heard = other.changes.count
            async with asyncio.timeout(PATIENCE):
                while other.changes.count == heard:  # appends before it listens don't notify it
                    await store.append_to_stream("note-1", ANY, notes("a"))
                    await other.changes.wait(heard, 0.1)

    async def check_snapshots(self, store: EventStore) -> None:
        """A stored snapshot comes back."""
        await store.append_to_stream("note-1", 0, notes("a"))
        snapshot = await taken(store, 1, {"text": "a"})
        await store.write_snapshot(snapshot)
        assert await store.read_snapshot("note-1") == snapshot

    async def check_transactions(self, store: EventStore) -> None:
        """Appends are visible once the transaction is committed, and never if it is rolled back."""
        async with store.transaction() as tx:
            await store.append_to_stream("note-1", 0, notes("a"), tx=tx)
            await store.append_to_streams([("note-1", 1, notes("b")), ("note-2", 0, notes("c"))], tx=tx)
            assert await store.read_stream("note-1") == []
            await self._check_reads(store, tx)
        await self._check_exclusive(store)
        with suppress(Deliberate):
            async with store.transaction() as tx:
                await store.append_to_stream("note-1", 2, notes("undone"), tx=tx)
                raise Deliberate

        assert texts(await store.read_all_events()) == ["a", "b", "c", "d"]
        with pytest.raises(TransactionError):
            await store.read_stream("note-1", tx=tx)

    async def _check_exclusive(self, store: EventStore) -> None:
        """Other writers of a stream wait while a transaction holds it."""
        async with store.exclusively("note-3", PATIENCE) as tx:
            with pytest.raises(AggregateBusyError):
                async with store.exclusively("note-3", 0.1):
                    pass
            await store.append_to_stream("note-3", 0, notes("d"), tx=tx)
        async with store.exclusively("note-3", PATIENCE) as tx:
            assert await store.stream_version("note-3", tx=tx) == 1

    async def _check_reads(self, store: EventStore, tx: Transaction) -> None:
        """Reads of streams in a transaction see its own appends."""
        first, last = await store.read_stream("note-1", tx=tx)
        assert texts([first, last]) == ["a", "b"]
        assert texts(await store.read_stream("note-1", 1, 1, tx=tx)) == ["b"]
        assert texts(await store.read_stream_backwards("note-1", tx=tx)) == ["b", "a"]
        assert texts([one async for one in store.iterate_stream("note-1", tx=tx)]) == ["a", "b"]
        found = [await store.last_event("note-1", tx=tx), await store.read_event(first.event_id, tx=tx)]
        assert [one and one.event_id for one in found] == [last.event_id, first.event_id]
        assert await store.read_event(first.event_id) is None
        assert (await store.stream_version("note-1", tx=tx), await store.stream_version("note-1")) == (2, 0)
        assert await store.read_snapshot("note-1", tx=tx) is None

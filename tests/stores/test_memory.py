"""What the store in memory adds to the promises of every store: it needs no opening, and remembers what it held."""

import asyncio

import pytest

from perdure.commit import ANY, NO_STREAM, PAYLOAD_LIMIT
from perdure.errors import EventEncodingError, InvalidArgumentError, StoreClosedError, UnsupportedOperationError
from perdure.events import NewEvent, event
from perdure.log import ChangeSignal
from perdure.stores.memory import InMemoryEventStore
from perdure.transaction import Transaction


@event("test.memory.noted")
class Noted:
    text: str = ""


async def test_it_is_ready_without_being_opened() -> None:
    store = InMemoryEventStore()

    assert (await store.append_to_stream("note-1", NO_STREAM, [Noted(), Noted()])).global_positions == (1, 2)


async def test_it_remembers_when_it_is_opened_again() -> None:
    store = InMemoryEventStore()
    async with store:
        await store.append_to_stream("note-1", NO_STREAM, [Noted(text="a")])
    with pytest.raises(StoreClosedError):
        await store.read_all_events()
    async with store:
        assert [one.event for one in await store.read_all_events()] == [Noted(text="a")]


async def test_it_has_no_transactions() -> None:
    store = InMemoryEventStore()

    with pytest.raises(UnsupportedOperationError, match="InMemoryEventStore"):
        store.transaction()
    with pytest.raises(UnsupportedOperationError, match="InMemoryEventStore"):
        await store.append_to_stream("note-1", ANY, [Noted()], tx=Transaction())


async def test_a_transaction_of_no_store_can_not_be_begun() -> None:
    with pytest.raises(UnsupportedOperationError):
        await Transaction().__aenter__()
    with pytest.raises(UnsupportedOperationError):
        await Transaction().__aexit__(None)


async def test_the_limit_of_a_payload_is_a_mebibyte_unless_told_otherwise() -> None:
    assert InMemoryEventStore().payload_limit == PAYLOAD_LIMIT == 2**20
    assert InMemoryEventStore(payload_limit=5).payload_limit == 5
    with pytest.raises(InvalidArgumentError):
        InMemoryEventStore(payload_limit=0)


async def test_metadata_over_the_limit_is_refused() -> None:
    store = InMemoryEventStore(payload_limit=200)

    with pytest.raises(EventEncodingError, match="metadata takes"):
        await store.append_to_stream("note-1", ANY, [NewEvent(Noted(), headers={"long": "x" * 200})])

    assert await store.read_all_events() == []


async def test_whoever_waits_is_woken_once_and_may_give_up() -> None:
    changes = ChangeSignal()
    waiting, giving_up = [asyncio.create_task(changes.wait(0, 60)) for _ in range(2)]
    await asyncio.sleep(0)
    giving_up.cancel()
    changes.announce()
    changes.announce()
    await waiting

    await changes.wait(0, 60)  # it was told already
    await changes.wait(changes.count, 0)
    assert changes.count == 2
    assert giving_up.cancelled() or await asyncio.wait([giving_up])

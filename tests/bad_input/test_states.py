"""The matrix, of states: each call that a store answers, made where the store can't be used."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection

import pytest

from perdure import (
    AggregateBusyError,
    EventStore,
    InMemoryEventStore,
    PerdureError,
    PostgreSQLEventStore,
    StoreClosedError,
    TransactionError,
    UnsupportedOperationError,
    WrongContextError,
)
from tests.bad_input.all_calls import ON_A_STORE
from tests.bad_input.checking import content, outcome, seed
from tests.bad_input.world import Noted, World, written

MADE_WITHOUT_IT = {
    "DeciderRepository",
    "EventStore.encode",
    "Repository",
    "Subscription.prefetch",
    "Transaction.after_commit",
    "Transaction.when_settled",
}
"""Calls that only name the store, or need none."""
CALLS = {name: call for name, call in ON_A_STORE.items() if name not in MADE_WITHOUT_IT}


async def taken(world: World, error: type[PerdureError]) -> dict[str, BaseException | None]:
    """The calls that don't raise the error: none, if all is well."""
    outcomes = {name: await outcome(name, call, world) for name, call in CALLS.items()}
    return {
        name: found for name, found in outcomes.items() if not isinstance(found, (error, UnsupportedOperationError))
    }


async def test_a_closed_store_in_memory_is_told() -> None:
    store = InMemoryEventStore()
    await seed(store)
    await store.close()

    assert await taken(World(store), StoreClosedError) == {}


async def test_a_closed_store_on_postgresql_is_told(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        await seed(store)
        before = await content(store)

    assert await taken(World(store), StoreClosedError) == {}
    async with store:
        assert await content(store) == before


async def test_a_store_that_was_never_opened_is_told(database_url: str) -> None:
    assert await taken(World(PostgreSQLEventStore(database_url)), StoreClosedError) == {}


async def test_another_event_loop_in_another_thread_is_told(store: PostgreSQLEventStore) -> None:
    await seed(store)
    before = await content(store)

    assert await asyncio.to_thread(asyncio.run, taken(World(store), WrongContextError)) == {}
    assert await content(store) == before


def _after_fork(store: EventStore, answers: Connection) -> None:
    asyncio.events._set_running_loop(None)  # the child's thread was forked within the parent's loop
    answers.send({name: repr(error) for name, error in asyncio.run(taken(World(store), WrongContextError)).items()})


async def test_a_forked_process_is_told_and_the_parent_goes_on(store: PostgreSQLEventStore) -> None:
    await seed(store)
    before = await content(store)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_after_fork, args=(store, sender))
    child.start()
    sender.close()

    assert await asyncio.to_thread(receiver.recv) == {}
    await asyncio.to_thread(child.join)
    assert await content(store) == before


async def test_a_transaction_outside_its_block_is_told(store: PostgreSQLEventStore) -> None:
    async with store.transaction() as ended:
        pass
    async with store.database.connection() as connection:
        joined = store.transaction(connection, commit="caller")
    for tx in (ended, store.transaction(), joined):
        world = World(store)
        for name in ("EventStore.append_to_stream", "EventStore.append_to_streams", "Repository.save", "save_all"):
            call = ON_A_STORE[name]
            error = await outcome(name, call, world, {"tx": tx})
            assert isinstance(error, TransactionError), (name, error)
    assert await store.read_all_events() == []


async def test_a_transaction_of_another_store_is_told(store: PostgreSQLEventStore, database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as other, other.transaction() as tx:
        with pytest.raises(TransactionError, match="a transaction of this store"):
            await store.append_to_stream("note-1", 0, [Noted()], tx=tx)

    assert await store.read_all_events() == []


async def test_a_connection_that_was_closed_is_told(store: PostgreSQLEventStore) -> None:
    connection = await store.database.connect()
    await connection.close()

    with pytest.raises(PerdureError):
        async with store.transaction(connection):
            pass


async def test_an_aggregate_that_is_being_saved_is_told(store: PostgreSQLEventStore) -> None:
    note = written()
    note.uncommitted.held = True

    with pytest.raises(AggregateBusyError):
        note.write("more")
    with pytest.raises(AggregateBusyError):
        await World(store).function("Repository.save_with_retry")(note)

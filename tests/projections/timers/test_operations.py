"""What operators see of timers, and how they cancel one: for good, and with a trace in the log."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import pytest

import perdure
from perdure.errors import ReadOnlyStoreError, UnknownTimerError
from perdure.process_events import TimerCancelled
from perdure.projections.timers.operations import TimerOperations
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.timers.timing import LATER, fire, open_transaction, remaining, set_many, set_timer
from tests.stores.postgres.races import other_connection, until_waiting


@pytest.fixture
def operations(store: PostgreSQLEventStore) -> TimerOperations:
    return TimerOperations(store, actor="ops")


async def test_timers_are_listed_the_next_to_fire_first(
    operations: TimerOperations, connection: asyncpg.Connection
) -> None:
    later = await set_timer(connection, "ann", due_in=LATER, data='{"days": 7}')
    due = await set_timer(connection, "bob", "reminder")

    first, second = await operations.timers()

    assert (first.name, first.key, first.timer, first.is_due, first.data) == ("trials", due.key, "reminder", True, None)
    assert (second.key, second.due_at, second.is_due) == (later.key, later.due_at, False)
    assert (second.set_by, second.data) == (later.set_by, {"days": 7})


async def test_timers_are_chosen_by_process_instance_and_whether_they_are_due(
    operations: TimerOperations, connection: asyncpg.Connection
) -> None:
    ann = await set_timer(connection, "ann")
    await set_timer(connection, "ann", "later", due_in=LATER)
    await set_timer(connection, "bob")
    await set_many(connection, 2, name="others", due_in=LATER)

    async def names(**given: object) -> Sequence[str]:
        return [f"{one.name} {one.timer}" for one in await operations.timers(**given)]  # type: ignore[arg-type]  # typed there

    assert await names(name="trials", key=ann.key) == ["trials end", "trials later"]
    assert await names(due=True) == ["trials end", "trials end"]
    assert await names(due=False) == ["trials later", "others end", "others end"]
    assert await names(name="nothing") == []
    assert len(await names(limit=3)) == 3


async def test_the_status_counts_the_timers_of_each_process(
    operations: TimerOperations, connection: asyncpg.Connection
) -> None:
    await set_many(connection, 3, name="others", due_in=LATER)
    due = await set_timer(connection, "ann", due_in=timedelta(hours=-1))
    await set_timer(connection, "bob", due_in=LATER)

    others, trials = await operations.status()

    assert (others.name, others.timers, others.due, others.due_seconds) == ("others", 3, 0, 0)
    assert (trials.name, trials.timers, trials.due, trials.next_due) == ("trials", 2, 1, due.due_at)
    assert trials.due_seconds >= 3600
    assert [one.name for one in await operations.status("trials")] == ["trials"]
    assert await operations.status("nothing") == []


async def test_a_cancelled_timer_never_fires_and_the_log_says_why(
    operations: TimerOperations, store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    timer = await set_timer(connection, "ann")
    await set_timer(connection, "ann", "other", due_in=LATER)

    due_at = await operations.cancel("trials", timer.key, "end", "the user has left")

    assert due_at == timer.due_at
    [cancelled] = await store.read_stream(timer.stream_id)
    assert cancelled.event == TimerCancelled(
        process="trials", key=timer.key, timer="end", set_by=timer.set_by, reason="the user has left"
    )
    assert cancelled.metadata.user_id == "ops"
    assert (await fire(connection))["fired"] == 0
    assert await remaining(connection) == [("ann", "other")]


async def test_a_timer_that_is_not_set_can_not_be_cancelled(
    operations: TimerOperations, store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    timer = await set_timer(connection, "ann")
    await fire(connection)

    with pytest.raises(UnknownTimerError, match="it has fired or was cancelled") as caught:
        await operations.cancel("trials", timer.key, "end", "too late")

    assert (caught.value.name, caught.value.key, caught.value.timer) == ("trials", timer.key, "end")
    assert len(await store.read_all_events()) == 1


async def test_a_cancellation_waits_for_a_firing_under_way_and_comes_too_late(
    operations: TimerOperations, connection: asyncpg.Connection, store: PostgreSQLEventStore, database_url: str
) -> None:
    timer = await set_timer(connection, "ann")
    async with other_connection(database_url) as observer, open_transaction(connection):
        assert (await fire(connection))["fired"] == 1
        cancelling = asyncio.create_task(operations.cancel("trials", timer.key, "end", "too late"))
        await until_waiting(observer, 1, cancelling)
        await connection.execute("commit")
        with pytest.raises(UnknownTimerError):
            await cancelling

    assert [json.loads(one.event_data)["timer"] for one in await store.read_stream(timer.stream_id)] == ["end"]


async def test_followers_are_woken_by_a_cancellation(
    operations: TimerOperations, connection: asyncpg.Connection, store: PostgreSQLEventStore
) -> None:
    timer = await set_timer(connection, "ann")
    before = store.changes.count

    await operations.cancel("trials", timer.key, "end", "a reason")

    assert store.changes.count > before


async def test_a_store_that_only_reads_cancels_nothing(connection: asyncpg.Connection, database_url: str) -> None:
    timer = await set_timer(connection, "ann")
    async with perdure.connect(database_url, read_only=True) as store:
        operations = TimerOperations(store)
        assert len(await operations.timers()) == 1
        with pytest.raises(ReadOnlyStoreError):
            await operations.cancel("trials", timer.key, "end", "a reason")
    assert await remaining(connection) == [("ann", "end")]


async def test_what_was_cancelled_can_be_set_again_by_another_event(
    operations: TimerOperations, connection: asyncpg.Connection, store: PostgreSQLEventStore
) -> None:
    timer = await set_timer(connection, "ann")
    await operations.cancel("trials", timer.key, "end", "a reason")
    again = await set_timer(connection, "ann")

    assert (await fire(connection))["fired"] == 1
    assert (await store.read_stream(timer.stream_id))[-1].event_id == again.firing_id


async def test_the_gate_knows_the_event_of_a_cancellation(
    operations: TimerOperations, connection: asyncpg.Connection, store: PostgreSQLEventStore
) -> None:
    timer = await set_timer(connection, "ann")
    await operations.cancel("trials", timer.key, "end", "a reason")

    report = await perdure.check_stored_events(store)

    assert report.problems == []

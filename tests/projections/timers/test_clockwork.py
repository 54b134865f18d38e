"""The program that fires timers: in time, in batches, woken by a bell, and undeterred by outages."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Self

import asyncpg
import pytest

from perdure.errors import DatabaseError, StoreUnavailableError
from perdure.observation import Fact, Observer, TimersDue, TimersFired
from perdure.projections.timers import clockwork as module
from perdure.projections.timers.clockwork import MOST_AT_ONCE, Clockwork
from perdure.projections.timers.records import Firing, TimerRecords
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.tasks import Tasks
from tests.observing import observed
from tests.projections.timers.timing import (
    LATER,
    count_fired,
    fired_early,
    fired_payloads,
    fired_twice,
    open_transaction,
    remaining,
    set_many,
    set_timer,
)
from tests.stores.postgres.races import other_connection, until

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """A clockwork, and the owner of its tasks."""

    def __init__(self, store: PostgreSQLEventStore) -> None:
        self.tasks = Tasks("the test", "fire_timers")
        self.clockwork = Clockwork(store, self.tasks)

    async def __aenter__(self) -> Self:
        self.clockwork.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.clockwork.stop()


class Looks:
    """The looks of a clockwork for timers that are due, as they end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.errors: list[Exception] = []
        """Raised by the next looks, one after the other."""
        self.gate = asyncio.Event()
        self.gate.set()
        """Looks that have got their answer wait here."""
        original = TimerRecords.fire

        async def fire(records: TimerRecords, limit: int) -> Firing:
            if self.errors:
                raise self.errors.pop(0)
            found = await original(records, limit)
            self.count += 1
            await self.gate.wait()
            return found

        monkeypatch.setattr(TimerRecords, "fire", fire)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


@pytest.fixture
def without_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it sleep for an hour, unless something wakes it."""
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 3600.0)


async def until_fired(connection: asyncpg.Connection, count: int) -> None:
    while await count_fired(connection) < count:  # noqa: ASYNC110 - another session changes it
        await asyncio.sleep(0.001)


async def test_it_fires_what_is_due_and_what_becomes_due(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, without_polling: None
) -> None:
    await set_timer(connection, "ann", due_in=timedelta(hours=-1))
    await set_timer(connection, "bob", due_in=timedelta(seconds=0.05))
    await set_timer(connection, "eve", due_in=LATER)

    async with Clock(store):
        await until_fired(connection, 2)

    assert await remaining(connection) == [("eve", "end")]
    assert await fired_early(connection) == []


async def test_followers_of_the_log_are_woken(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann")
    before = store.changes.count

    async with Clock(store):
        await until(lambda: store.changes.count > before)

    assert await count_fired(connection) == 1


async def test_the_bell_wakes_it_for_a_timer_that_is_due_before_its_next_look(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks, without_polling: None
) -> None:
    async with Clock(store) as clock:
        await until(lambda: looks.count == 1)
        later = await set_timer(connection, "eve", due_in=LATER)
        clock.clockwork.expect(later.due_at)
        soon = await set_timer(connection, "ann", due_in=timedelta(seconds=0.05))
        clock.clockwork.expect(soon.due_at)
        await until_fired(connection, 1)

    assert await remaining(connection) == [("eve", "end")]


async def test_a_bell_for_a_later_timer_does_not_wake_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks, without_polling: None
) -> None:
    async with Clock(store) as clock:
        await until(lambda: looks.count == 1)
        for _ in range(10):
            clock.clockwork.expect((await set_timer(connection, "eve", due_in=LATER)).due_at)

        assert looks.count == 1


async def test_a_bell_that_rings_during_a_look_is_heard_after_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks, without_polling: None
) -> None:
    async with Clock(store) as clock:
        await until(lambda: looks.count == 1)
        looks.gate.clear()
        clock.clockwork.expect((await set_timer(connection, "ann")).due_at)
        await until(lambda: looks.count == 2)  # it has fired ann's timer, and doesn't know yet of bob's
        later = await set_timer(connection, "bob", due_in=timedelta(seconds=0.05))
        clock.clockwork._asleep_until = clock.clockwork._asleep_until and later.due_at - timedelta(seconds=1)
        clock.clockwork.expect(later.due_at)
        looks.gate.set()
        await until_fired(connection, 2)


async def test_a_timer_that_another_process_has_set_is_found_without_a_bell(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks
) -> None:
    async with Clock(store):
        await until(lambda: looks.count == 1)
        await set_timer(connection, "ann")
        await until_fired(connection, 1)


async def test_a_burst_fires_in_small_transactions_the_longest_due_first(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await set_many(connection, 4 * MOST_AT_ONCE - 1)

    async with Clock(store):
        await until_fired(connection, 4 * MOST_AT_ONCE - 1)

    sizes = await connection.fetch(
        "select count(*) from perdure.events group by xmin::text order by min(global_position)"
    )
    assert [row["count"] for row in sizes] == [MOST_AT_ONCE, MOST_AT_ONCE, MOST_AT_ONCE, MOST_AT_ONCE - 1]
    users = [json.loads(json.loads(one.event_data)["key"])["user_id"] for one in await store.read_all_events()]
    assert [sorted(users[n : n + MOST_AT_ONCE]) for n in range(0, len(users), MOST_AT_ONCE)] == [
        list(range(n + 1, min(n + MOST_AT_ONCE, len(users)) + 1)) for n in range(0, len(users), MOST_AT_ONCE)
    ]


async def test_two_at_once_fire_each_timer_once(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    await set_many(connection, 1500, due_in=timedelta(seconds=0.01))

    async with PostgreSQLEventStore(database_url) as other, Clock(store), Clock(other):
        await until_fired(connection, 1500)

    assert await count_fired(connection) == 1500
    assert (await fired_twice(connection), await fired_early(connection), await remaining(connection)) == ([], [], [])


async def test_a_locked_stream_delays_its_timer_only(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    locked, free = await set_timer(connection, "ann"), await set_timer(connection, "bob")
    async with other_connection(database_url) as holder, open_transaction(holder):
        await holder.execute("select pg_advisory_xact_lock(perdure.store_namespace(), hashtext($1))", locked.stream_id)
        async with Clock(store):
            await until_fired(connection, 1)
            assert [one["key"] for one in await fired_payloads(store, free.stream_id)] == [free.key]
            await holder.execute("rollback")
            await until_fired(connection, 2)


async def test_it_waits_for_a_database_that_is_away(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    looks.errors = [StoreUnavailableError("away")] * 3
    await set_timer(connection, "ann")

    async with Clock(store) as clock:
        await until_fired(connection, 1)
        assert clock.tasks.failures() == []

    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_an_error_that_stays_is_shown_by_health_and_tried_again(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks
) -> None:
    looks.errors = [DatabaseError("a timer can't fire", "PD007")]
    await set_timer(connection, "ann")

    async with Clock(store) as clock:
        await until_fired(connection, 1)

        assert [one.name for one in clock.tasks.failures()] == ["perdure timers"]


class Facts(Observer):
    def __init__(self) -> None:
        self.found: list[Fact] = []

    def happened(self, fact: Fact) -> None:
        self.found.append(fact)


async def test_it_reports_what_fired_and_how_late(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks
) -> None:
    await set_timer(connection, "ann", due_in=timedelta(hours=-1))
    await set_timer(connection, "bob")
    facts = Facts()
    with observed(facts):
        async with Clock(store):
            await until(lambda: any(isinstance(one, TimersFired) for one in facts.found))

    [fired] = [one for one in facts.found if isinstance(one, TimersFired)]
    assert fired.count == 2
    assert fired.seconds >= 3600


async def test_it_reports_what_is_due_and_has_not_fired(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, looks: Looks
) -> None:
    looks.errors = [DatabaseError("a timer can't fire", "PD007")] * 100
    await set_timer(connection, "ann", due_in=timedelta(hours=-1))
    await set_timer(connection, "bob", due_in=LATER)
    facts = Facts()
    with observed(facts):
        async with Clock(store):
            await until(lambda: any(isinstance(one, TimersDue) for one in facts.found))

    due = next(one for one in facts.found if isinstance(one, TimersDue))
    assert due.count == 1
    assert due.seconds >= 3600


@pytest.fixture
async def stopped(store: PostgreSQLEventStore) -> AsyncIterator[Clock]:
    async with Clock(store) as clock:
        yield clock


async def test_nothing_fires_once_it_has_stopped(stopped: Clock, connection: asyncpg.Connection, looks: Looks) -> None:
    await stopped.clockwork.stop()
    ended = looks.count
    await set_timer(connection, "ann")
    stopped.clockwork.expect(NOW - LATER)
    await asyncio.sleep(0)

    assert (looks.count, await count_fired(connection)) == (ended, 0)


@pytest.mark.parametrize(
    ("fired", "busy", "due_in", "pause"),
    [
        (0, 0, None, 1.0),
        (9, 0, None, 1.0),
        (0, 0, LATER, 1.0),
        (3, 0, timedelta(seconds=0.25), 0.25),
        (0, 0, timedelta(microseconds=1), 0.001),
        (250, 0, timedelta(seconds=-1), 0.0),
        (0, 0, timedelta(seconds=-1), 0.02),  # another process fires them
        (0, 7, timedelta(seconds=-1), 0.02),  # their streams are locked
    ],
)
def test_the_pause_until_the_next_look(fired: int, busy: int, due_in: timedelta | None, pause: float) -> None:
    next_due = None if due_in is None else NOW + due_in
    assert module._pause_after(Firing(fired, busy, NOW, NOW, next_due)) == pytest.approx(pause)

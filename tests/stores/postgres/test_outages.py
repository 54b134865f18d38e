"""A database that is away is one log record, and one more when it is back, however many parts of a store try."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from perdure.commit import ANY
from perdure.errors import PerdureError, StoreUnavailableError
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.connections import reachability
from perdure.stores.postgres.connections.reachability import Reachability
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Tally
from perdure.testing.checker.samples import Checked
from tests.cluster import Server, free_port, servers, url_of
from tests.stores.postgres.races import add_gate, close_gate, notes, until, until_waiting

pytestmark = pytest.mark.server  # the tests start servers of their own

LANES = 4
FOLLOWERS = 4
WRITERS = 8


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged for people to see."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def tries(caplog: pytest.LogCaptureFixture) -> int:
    """How many tries were logged for those who look closely."""
    return sum(record.levelno == logging.DEBUG for record in caplog.records)


@dataclass
class Load:
    """Everything that a store can be busy with."""

    store: PostgreSQLEventStore
    service: ProjectionService
    seen: dict[int, int] = field(default_factory=dict)
    acknowledged: int = 0
    is_over: bool = False

    async def write(self, number: int) -> None:
        while not self.is_over:
            try:
                if number % 4:
                    await self.store.append_to_stream(f"checked-{number}", ANY, [Checked(text="one")])
                else:
                    both = [(f"checked-{number}{one}", ANY, [Checked(text=one)]) for one in "ab"]
                    await self.store.append_to_streams(both)
            except PerdureError:
                await asyncio.sleep(0.01)
            else:
                self.acknowledged += 1

    async def follow(self, number: int) -> None:
        async for stored in self.store.subscribe(category="checked" if number % 2 else None):
            self.seen[number] = stored.global_position

    async def is_well(self) -> None:
        """Wait until all of it goes on."""
        acknowledged = self.acknowledged
        await until(lambda: self.acknowledged > acknowledged + 2 * WRITERS)
        [last] = await self.store.read_all_events_backwards(max_count=1)
        await self.service.wait_for("perdure_checker_tally", last.global_position, timeout=60)
        await until(lambda: len(self.seen) == FOLLOWERS and min(self.seen.values()) >= last.global_position)
        await until(lambda: self.store.is_listening is True)


@asynccontextmanager
async def load(url: str) -> AsyncIterator[Load]:
    store = PostgreSQLEventStore(url, append_lanes=LANES)
    async with store, ProjectionService(store, [Tally()]) as service:
        busy = Load(store, service)
        writers = [asyncio.create_task(busy.write(number)) for number in range(WRITERS)]
        followers = [asyncio.create_task(busy.follow(number)) for number in range(FOLLOWERS)]
        await busy.is_well()
        yield busy
        busy.is_over = True
        await asyncio.gather(*writers)
        for follower in followers:
            follower.cancel()


async def killed(server: Server) -> None:
    await server.kill()


async def stopped(server: Server) -> None:
    await server.stop(signal.SIGINT)


@pytest.mark.parametrize("ended", [killed, stopped])
async def test_a_server_that_goes_and_comes_is_two_records_for_a_store(
    ended: Callable[[Server], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async with servers() as cluster:
        server = await cluster.primary()
        async with load(server.url()) as busy:
            caplog.set_level(logging.DEBUG, "perdure")
            caplog.clear()
            await ended(server)
            await until(lambda: tries(caplog) > 200)
            await server.start()
            await busy.is_well()

            away, back = told(caplog)

    assert away.startswith("the database is away since ")
    assert back.startswith("the database is back after ")
    assert told(caplog) == [away, back]  # closing it neither


async def test_a_failover_is_two_records_and_tells_where_the_database_is_now(caplog: pytest.LogCaptureFixture) -> None:
    async with servers() as cluster:
        primary = await cluster.primary()
        standby = await cluster.standby_of(primary, synchronous=True)
        async with load(url_of(primary, standby)) as busy:
            caplog.set_level(logging.DEBUG, "perdure")
            caplog.clear()
            await primary.kill()
            await until(lambda: tries(caplog) > 200)
            await standby.configure(synchronous_standby_names="")
            await standby.promote()
            await busy.is_well()

            away, back = told(caplog)

    assert "no server of the database can be used" in away
    assert f"it is at 127.0.0.1:{standby.port} now, no longer at 127.0.0.1:{primary.port}" in back


async def test_the_record_says_how_many_appends_wait(caplog: pytest.LogCaptureFixture) -> None:
    async with servers() as cluster:
        server = await cluster.primary()
        async with PostgreSQLEventStore(server.url()) as store:
            gatekeeper = await server.connect()
            await add_gate(gatekeeper, "true")
            await close_gate(gatekeeper)
            appends = asyncio.gather(
                store.append_to_streams([("note-6", ANY, notes(6)), ("note-7", ANY, notes(7))]),
                *[store.append_to_stream(f"note-{number}", ANY, notes(number)) for number in range(5)],
            )
            await until_waiting(gatekeeper, 3)
            await server.kill()
            await until(lambda: bool(told(caplog)))
            [away] = told(caplog)
            gatekeeper.terminate()
            await server.start()
            await appends
            _, back = told(caplog)

    assert ", 6 appends wait: the database can't be reached" in away
    [record, other] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.__dict__["perdure.appends"] == 6
    assert record.__dict__["error.type"] == "StoreUnavailableError"
    assert other.__dict__["perdure.outage"] > 0
    assert back.startswith("the database is back after ")


async def test_sessions_that_are_ended_are_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    async with servers() as cluster:
        server = await cluster.primary()
        async with load(server.url()) as busy:
            caplog.set_level(logging.DEBUG, "perdure")
            caplog.clear()
            await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
            await until(lambda: "the listening connection was lost" in caplog.text)
            await busy.is_well()

    assert told(caplog) == []


async def test_a_store_that_can_not_be_opened_tells_its_caller_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoreUnavailableError):
        await PostgreSQLEventStore(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres").open()

    assert told(caplog) == []


# --- What counts ------------------------------------------------------------------------------------------------------


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reachability, "time", clock)
    monkeypatch.setattr("perdure.outage.time", clock)
    return clock


@pytest.fixture
def reached(clock: Clock) -> Reachability:
    reached = Reachability("the database")
    reached.is_watched = True
    return reached


def fail(reached: Reachability) -> StoreUnavailableError:
    error = StoreUnavailableError("no")
    with pytest.raises(StoreUnavailableError), reached.attempt():
        raise error
    return error


def test_an_attempt_that_began_before_the_server_went_or_came_says_nothing(
    reached: Reachability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    early, late = reached.attempt(), reached.attempt()
    early.__enter__()
    clock.now += 1
    fail(reached)
    early.__exit__(None, None, None)
    seen = [reached.is_away]
    clock.now += 1
    late.__enter__()
    clock.now += 1
    with reached.attempt():
        pass
    seen.append(reached.is_away)
    error = StoreUnavailableError("no")
    assert not late.__exit__(StoreUnavailableError, error, None)

    assert [*seen, reached.is_away] == [True, False, False]
    assert error.is_away
    assert [text.partition(" since")[0].partition(" after")[0] for text in told(caplog)] == [
        "the database is away",
        "the database is back",
    ]


def test_what_works_on_a_connection_that_is_left_ends_it(reached: Reachability, clock: Clock) -> None:
    clock.now += 1
    fail(reached)
    reached.worked(clock.now - 0.5)
    seen = [reached.is_away]
    reached.worked(clock.now)

    assert [*seen, reached.is_away] == [True, False]


def test_one_that_comes_and_goes_is_told_again_when_it_lasts_or_after_a_minute(
    reached: Reachability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def blink(seconds: float) -> None:
        fail(reached)
        clock.now += seconds
        fail(reached)
        with reached.attempt():
            pass
        clock.now += 0.1

    for _ in range(100):
        blink(0.1)
    assert len(told(caplog)) == 2
    blink(1.5)
    assert [text.partition(": ")[0].rpartition(", ")[2] for text in told(caplog)[2:3]] == ["200 tries"]
    assert len(told(caplog)) == 4
    clock.now += 60
    blink(0.1)
    assert len(told(caplog)) == 6


def test_lost_connections_pass_unless_there_are_many_while_the_server_is_there(
    reached: Reachability, clock: Clock
) -> None:
    assert [reached.lost() for _ in range(25)] == [True] * 20 + [False] * 5
    clock.now += 61
    assert reached.lost()
    fail(reached)
    assert all(reached.lost() for _ in range(25))


def test_a_closed_store_tells_nothing(reached: Reachability, caplog: pytest.LogCaptureFixture) -> None:
    fail(reached)
    reached.forget()
    assert not fail(reached).is_away
    assert (reached.is_away, len(told(caplog))) == (False, 1)

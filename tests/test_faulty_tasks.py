"""An unforeseen error is injected into every background task: it is logged, health reports it, and work goes on."""

import asyncio
import logging

import pytest

from perdure.commit import ANY
from perdure.health import Health, live, ready
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.faulty_tasks import TASKS, Fault, Faulty, PanicException, World, world_of
from tests.projections.counting import Visited
from tests.stores.postgres.races import until

PATIENCE = 60.0
CASES = [
    pytest.param(faulty, error, id=f"{where} {error.__name__}")
    for where, faulty in TASKS.items()
    for error in (KeyError, PanicException)
    if error is PanicException or not faulty.survives_exceptions
]
KEPT = [faulty for faulty in TASKS.values() if faulty.is_kept]


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(f"perdure.tasks.{name}", 0.01)
    monkeypatch.setattr("perdure.stores.postgres.standby_publisher._PAUSE_WITHOUT_STANDBYS", 0.01)


@pytest.fixture
async def closed_store(database_url: str) -> PostgreSQLEventStore:
    return PostgreSQLEventStore(database_url, append_lanes=1)


def records(caplog: pytest.LogCaptureFixture, faulty: Faulty) -> list[logging.LogRecord]:
    """The records of the injected error, with its traceback."""
    return [
        record
        for record in caplog.records
        if record.name == faulty.logger and record.exc_info is not None and "injected" in str(record.exc_info[1])
    ]


async def until_logged(world: World, faulty: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(PATIENCE):
        while not records(caplog, faulty):
            await faulty.provoke(world)
            await asyncio.sleep(0.01)


async def until_it_fails_again(world: World, faulty: Faulty, fault: Fault) -> None:
    before = fault.count
    async with asyncio.timeout(PATIENCE):
        while fault.count < before + 2:
            await faulty.provoke(world)
            await asyncio.sleep(0.01)


def state_of(health: Health, faulty: Faulty) -> list[str]:
    """The reasons of failed checks that name the task."""
    return [one.reason for one in health.checks if one.reason and f"{faulty.name!r}" in one.reason]


@pytest.mark.parametrize(("faulty", "error"), CASES)
async def test_an_unforeseen_error_in_a_task_is_logged_and_what_it_does_goes_on(
    closed_store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faulty: Faulty,
    error: type[BaseException],
) -> None:
    store, fault = closed_store, Fault(faulty.name, error)
    async with world_of(store, faulty) as world:
        fault.inject(monkeypatch)
        await until_logged(world, faulty, caplog)
        fault.is_on = False
        follower = store.subscribe()
        saved = await store.append_to_stream("site-2", ANY, [Visited(page="b", visitor="y")])
        async with asyncio.timeout(PATIENCE):
            while (await anext(follower)).global_position < saved.global_position:
                pass
        if world.service is not None:
            for name in ("pages", "noticing"):
                await world.service.wait_for(name, saved, timeout=PATIENCE)


@pytest.mark.parametrize("faulty", KEPT, ids=[faulty.name for faulty in KEPT])
async def test_a_process_is_not_ready_once_a_task_has_failed_and_not_alive_after_a_minute(
    closed_store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faulty: Faulty,
) -> None:
    store, fault, clock = closed_store, Fault(faulty.name, PanicException), Clock()
    async with world_of(store, faulty) as world:
        monkeypatch.setattr(world.tasks, "_clock", clock)
        fault.inject(monkeypatch)
        await until_logged(world, faulty, caplog)
        assert state_of(await ready(store, world.service, timeout=PATIENCE), faulty)
        assert (await live(store, world.service)).state == "ok"

        for _ in range(7):
            clock.now += 9
            await until_it_fails_again(world, faulty, fault)
        assert state_of(await live(store, world.service), faulty)

        fault.is_on = False
        await faulty.provoke(world)
        await until(lambda: not any(map(world.tasks.is_resting, world.tasks._tasks)))
        clock.now += 11
        assert not state_of(await ready(store, world.service, timeout=PATIENCE), faulty)
        assert (await live(store, world.service)).state == "ok"

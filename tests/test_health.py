import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import ProjectionPausedError, StoreUnavailableError
from perdure.health import Check, Health, live, ready
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.status import ProjectionStatus
from perdure.repository import RetryConfig
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.tasks import Tasks
from tests.projections.counting import Broken, Pages, Visited
from tests.stores.postgres.races import end_sessions, until


def moved(url: str, port: int) -> str:
    return urlunsplit(urlsplit(url)._replace(netloc=f"localhost:{port}", query=""))


NOWHERE = 1
PATIENCE = 60.0


def check(health: Health, name: str) -> Check:
    [found] = [one for one in health.checks if one.name == name]
    return found


def health_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("perdure health")]


class Told:
    """A service that says what it is told to say."""

    def __init__(self, *answers: ProjectionStatus | Exception) -> None:
        self._answers = answers

    def check_alive(self) -> None:
        """It is."""

    def check_running(self) -> None:
        """It does."""

    async def status(self) -> Sequence[ProjectionStatus]:
        for answer in self._answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in self._answers if isinstance(answer, ProjectionStatus)]


def status(**changes: object) -> ProjectionStatus:
    known: dict[str, object] = {"name": "counts", "version": 1, "state": "running", "global_position": 5, "lag": 0}
    return ProjectionStatus(**(known | changes))  # type: ignore[arg-type]  # tests give what is declared


FAILURE = EventFailure(
    global_position=6,
    stream_id="a-1",
    stream_version=1,
    event_id=uuid4(),
    event_type="a.happened",
    error_type="ValueError",
    message="hunter2",
    traceback="hunter2",
    attempts=3,
    failed_at=datetime.now(UTC),
)


async def test_a_process_that_works_is_ready(store: PostgreSQLEventStore) -> None:
    health = await ready(store, Told(status(lag=3)), max_lag=3, timeout=PATIENCE)

    assert (health.is_ok, health.http_status) == (True, 200)
    assert json.loads(health.to_json()) == {
        "state": "ok",
        "checks": [
            {"name": "tasks", "state": "ok"},
            {"name": "database", "state": "ok"},
            {"name": "schema", "state": "ok"},
            {"name": "listener", "state": "ok"},
            {"name": "projection counts", "state": "ok", "lag": 3},
        ],
    }


async def test_a_process_whose_database_is_down_is_not_ready(store: PostgreSQLEventStore) -> None:
    store.database._move_to(moved(store.database._url, NOWHERE))

    health = await ready(store, timeout=PATIENCE)

    assert (health.state, health.http_status) == ("failed", 503)
    assert "can't be reached" in (check(health, "database").reason or "")
    assert "can't be reached" in (check(health, "schema").reason or "")


async def test_a_database_that_never_answers_is_not_waited_for(store: PostgreSQLEventStore) -> None:
    closing = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "localhost", 0)
    port = server.sockets[0].getsockname()[1]
    store.database._move_to(moved(store.database._url, port))

    health = await ready(store, timeout=0.05)

    closing.set()
    server.close()
    assert check(health, "database") == Check("database", "failed", "no answer within 0.05 s")


async def test_a_look_that_cannot_be_cancelled_is_not_waited_for_either() -> None:
    let_go = asyncio.Event()

    class Stubborn(Told):
        async def status(self) -> Sequence[ProjectionStatus]:
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                await let_go.wait()
            raise StoreUnavailableError("too late to matter")

    health = await ready(InMemoryEventStore(), Stubborn(), timeout=0.05)

    assert check(health, "projections").state == "failed"
    let_go.set()
    await until(lambda: not health_tasks())


async def test_who_no_longer_wants_to_know_leaves_nothing_behind() -> None:
    asked = asyncio.Event()

    class Endless(Told):
        async def status(self) -> Sequence[ProjectionStatus]:
            asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    task = asyncio.create_task(ready(InMemoryEventStore(), Endless(), timeout=60))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: not health_tasks())


@pytest.mark.one_session
async def test_a_server_that_takes_no_appends_is_not_ready(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    name = store.database.name
    await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')

    health = await ready(store, timeout=PATIENCE)

    assert check(health, "database").state == "failed"
    assert "read_only" in (check(health, "database").reason or "")


@pytest.mark.one_session
async def test_a_standby_is_not_ready(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    # There is no standby here: a function of that name, found first, says that this is one.
    await connection.execute("create function perdure.pg_is_in_recovery() returns boolean return true")
    await connection.execute(f'alter database "{store.database.name}" set search_path = perdure, pg_catalog')

    health = await ready(store, timeout=PATIENCE)

    assert "standby" in (check(health, "database").reason or "")


async def test_a_schema_that_is_outdated_is_not_ready(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("delete from perdure.migrations where number = 100")

    health = await ready(store, timeout=PATIENCE)

    assert check(health, "database").state == "ok"
    assert check(health, "schema").state == "failed"
    assert "lacks migrations" in (check(health, "schema").reason or "")


@pytest.mark.one_session
async def test_a_listener_that_is_lost_is_told_of_and_is_no_failure(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    store.subscribe()
    await until(lambda: store.is_listening is True)
    assert check(await ready(store, timeout=PATIENCE), "listener").state == "ok"
    url = store.database._url

    store.database._move_to(moved(url, NOWHERE))
    await end_sessions(connection, "query ilike 'listen%'")
    await until(lambda: store.is_listening is False)
    health = await ready(store, timeout=PATIENCE)

    store.database._move_to(url)
    assert check(health, "listener").state == "degraded"
    assert Health("degraded", (check(health, "listener"),)).http_status == 200


@pytest.mark.parametrize(
    ("one", "state", "reason"),
    [
        (status(), "ok", None),
        (status(lag=100), "ok", None),
        (status(lag=101), "failed", "101 positions behind, 100 are allowed"),
        (status(state="paused", failure=FAILURE), "failed", "paused before position 6: ValueError"),
        (status(state="stopped"), "failed", "stopped"),
        (status(failed=1, waiting=2), "degraded", "3 events are parked"),
        (status(failed=1), "degraded", "1 event is parked"),
        (status(failed=1000, waiting=200), "degraded", "1,200 events are parked"),
        (status(lag=1_000_000), "failed", "1,000,000 positions behind, 100 are allowed"),
        (status(error="the database is down"), "degraded", "the database is down"),
    ],
)
async def test_a_projection_is_judged_by_how_it_stands(one: ProjectionStatus, state: str, reason: str | None) -> None:
    health = await ready(InMemoryEventStore(), Told(one), max_lag=100, timeout=PATIENCE)

    found = check(health, "projection counts")
    assert (found.state, found.reason, found.lag) == (state, reason, one.lag)
    assert health.state == state
    assert "hunter2" not in health.to_json()


async def test_each_build_is_named_if_there_are_several() -> None:
    shown = status(stage="retained", is_shown=True, failed=1)
    builds = [
        shown,
        status(build=2, stage="building", is_shown=False, lag=4000),
        status(version=2, stage="ready", is_shown=False, state="paused", failure=FAILURE),
        status(version=3, stage="retained", is_shown=False, state="stopped"),
        status(name="others"),
    ]

    health = await ready(InMemoryEventStore(), Told(*builds), max_lag=100, timeout=PATIENCE)

    # Requests read what the views show: no other build makes the process unready.
    assert health.state == "degraded"
    assert health.checks[2:] == (
        Check("projection counts, version 1, build 1, shown", "degraded", "1 event is parked", 0),
        Check("projection counts, version 1, build 2, building", "ok", None, 4000),
        Check("projection counts, version 2, build 1, ready", "degraded", "paused before position 6: ValueError", 0),
        Check("projection counts, version 3, build 1, retained", "degraded", "stopped", 0),
        Check("projection others", "ok", None, 0),
    )


async def test_a_build_that_is_alone_is_relied_on_even_before_it_is_shown() -> None:
    building = status(stage="building", is_shown=False, lag=4000)

    health = await ready(InMemoryEventStore(), Told(building), max_lag=100, timeout=PATIENCE)

    assert health.checks[2:] == (
        Check(
            "projection counts, version 1, build 1, building", "failed", "4,000 positions behind, 100 are allowed", 4000
        ),
    )


async def test_a_rebuild_is_told_apart_from_what_is_shown(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("page-1", ANY, [Visited(page="a", visitor="ann")])
        await service.wait_for("pages", saved, timeout=PATIENCE)
        await ProjectionOperations(store).rebuild("pages", switch="manual")
        async with asyncio.timeout(PATIENCE):
            while [one.stage for one in await service.status()] != ["retained", "ready"]:  # noqa: ASYNC110 - see below
                await asyncio.sleep(0.05)  # another process would see it no sooner
        health = await ready(store, service, timeout=PATIENCE)

    assert [one.name for one in health.checks[4:]] == [
        "projection pages, version 1, build 1, shown",
        "projection pages, version 1, build 2, ready",
    ]


async def test_the_lag_is_not_judged_unless_asked_to() -> None:
    assert (await ready(InMemoryEventStore(), Told(status(lag=10**9)), timeout=PATIENCE)).is_ok


async def test_a_service_runs_its_projections_until_one_is_paused(store: PostgreSQLEventStore) -> None:
    projection = Pages()
    async with ProjectionService(store, [projection], retry=RetryConfig(max_attempts=1)) as service:
        saved = await store.append_to_stream("page-1", ANY, [Visited(page="a", visitor="ann")])
        await service.wait_for("pages", saved)
        await until(lambda: store.is_listening is True)
        before = await ready(store, service, max_lag=0, timeout=PATIENCE)
        projection.is_broken = True
        saved = await store.append_to_stream("page-1", ANY, [Broken(page="a")])
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("pages", saved)
        after = await ready(store, service, timeout=PATIENCE)

    assert before.state == "ok"
    assert check(after, "projection pages").state == "failed"
    assert "paused before position 2" in (check(after, "projection pages").reason or "")


async def test_whatever_a_look_raises_is_told_without_its_text() -> None:
    health = await ready(InMemoryEventStore(), Told(RuntimeError("hunter2")), timeout=PATIENCE)

    assert health.checks == (Check("tasks", "ok"), Check("store", "ok"), Check("projections", "failed", "RuntimeError"))


async def test_a_closed_store_is_neither_alive_nor_ready(database_url: str) -> None:
    store = PostgreSQLEventStore(database_url)

    for health in (await live(store), await ready(store, timeout=PATIENCE)):
        assert health.state == "failed"
        assert {"closed" in (one.reason or "") for one in health.checks} == {True}


async def test_a_process_that_works_is_alive_even_without_its_database(store: PostgreSQLEventStore) -> None:
    store.database._move_to(moved(store.database._url, NOWHERE))

    assert await live(store) == Health("ok", (Check("store", "ok"),))
    assert await live(InMemoryEventStore()) == Health("ok", (Check("store", "ok"),))


async def test_a_store_that_writes_no_more_is_not_alive(store: PostgreSQLEventStore) -> None:
    lane = store._group._lanes[0].task
    assert lane is not None
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)

    health = await live(store)

    assert health.state == "failed"
    assert "lane 0" in (health.checks[0].reason or "")


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_background_task_that_fails_ends_readiness_at_once_and_life_when_it_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perdure.tasks._FIRST_PAUSE", 0.0)
    store, clock, failed = InMemoryEventStore(), Clock(), asyncio.Event()
    store.tasks = Tasks("the event store", "test", clock=clock)

    async def fail_once() -> None:
        if store.tasks.failures():
            failed.set()
            await asyncio.Event().wait()
        raise KeyError("hunter2")

    task = store.tasks.keep(fail_once, "perdure something")
    await failed.wait()
    assert check(await ready(store, timeout=PATIENCE), "tasks").state == "failed"
    assert (await live(store)).state == "ok"

    clock.now += 11
    assert (await ready(store, timeout=PATIENCE)).state == "ok"

    task.cancel()
    await asyncio.wait((task,))
    for health in (await ready(store, timeout=PATIENCE), await live(store)):
        assert health.state == "failed"
        assert "won't be started again: restart the process" in health.to_json()
        assert "hunter2" not in health.to_json()


async def test_a_store_of_another_event_loop_is_not_alive(store: PostgreSQLEventStore) -> None:
    health = await asyncio.to_thread(asyncio.run, live(store))

    assert "another event loop" in (health.checks[0].reason or "")

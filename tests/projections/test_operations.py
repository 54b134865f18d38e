"""What operators do with projections: retry, skip, pause, resume, wait; and the record of it."""

import asyncio
from string import ascii_letters
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.context import context
from perdure.errors import (
    ProjectionPausedError,
    ProjectionTimeoutError,
    ReadOnlyStoreError,
    UnknownProjectionError,
    UnsupportedOperationError,
)
from perdure.projections.operations import ProjectionOperations
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved
from tests.projections.parking_lot import (
    FAILED,
    SKIPPED,
    Guarded,
    guarded,
    page,
    paused,
    runner_of,
    until,
    until_parked,
    until_processed,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


# --- Retrying ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ({}, []),
        ({"global_position": 3}, [1, 2, 4]),
        ({"event_type": "test.projections.visited"}, [1, 2, 3]),
        ({"event_type": "test.projections.broken", "key": page("b")}, [1, 3, 4]),
        ({"kind": "handler"}, [4]),
        ({"kind": "database"}, [1, 2, 3]),
        ({"kind": "timeout"}, [1, 2, 3, 4]),
        ({"key": page("c")}, [1, 2, 4]),
        ({"key": page("no key")}, [1, 2, 3, 4]),
        ({"global_position": 99}, [1, 2, 3, 4]),
        ({"event_type": "test.nothing"}, [1, 2, 3, 4]),
    ],
)
async def test_what_is_retried_can_be_said(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, which: dict[str, Any], left: list[int]
) -> None:
    projection = Guarded("a", "b", "c")
    async with guarded(store, projection) as service:
        await connection.execute("alter table guarded__v1 add constraint no_d check (page <> 'd')")
        events = [Broken(page="a"), Broken(page="b"), Broken(page="c"), visit("d")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "guarded", saved, timeout=30)
        projection.bad.clear()
        await connection.execute("alter table guarded__v1 drop constraint no_d")

        assert await ProjectionOperations(store).retry("guarded", **which) == 4 - len(left)
        await until_parked(service, store, *[(position, page(" abcd"[position]), FAILED) for position in left])


async def test_a_retry_that_was_asked_for_while_no_process_runs_is_made_by_the_next_one(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    """The process that has the segment ends between the request and the retry."""
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)
    operations = ProjectionOperations(elsewhere)
    assert await operations.retry("guarded") == 1
    (asked,) = await operations.parked("guarded")
    assert asked.is_retry_requested
    async with guarded(store, Guarded()) as service:
        await until_parked(service, store)
    await check_against_fold(store, database_url, Guarded())


async def test_the_owner_of_the_segment_retries_what_any_process_asks_for(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    projections = Guarded(*ascii_letters), Guarded(*ascii_letters)
    async with (
        guarded(store, projections[0], segments=4) as one,
        guarded(elsewhere, projections[1], segments=4) as other,
    ):

        async def both_work() -> bool:
            return len((await one.status())[0].owners) == 2

        await until(one, both_work)
        events = [event for name in ascii_letters for event in (Broken(page=name), visit(name))]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(one, "guarded", saved, timeout=60)
        assert all(projection.tried for projection in projections)
        for projection in projections:
            projection.bad.clear()
        assert await ProjectionOperations(elsewhere).retry("guarded") == len(ascii_letters)
        await until_parked(one, store)
        await until_parked(other, store)
    assert await check_against_fold(store, database_url, Guarded()) == saved.global_position


async def test_what_is_parked_is_listed_by_page_state_type_and_kind(store: PostgreSQLEventStore) -> None:
    operations = ProjectionOperations(store)
    async with guarded(store, Guarded("a", "b")) as service:
        both = Moved(source="a", target="b")
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), both, both, visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)

    async def positions(**filters: Any) -> list[int]:
        return [one.global_position for one in await operations.parked(**filters)]

    assert await positions() == [3, 3]
    assert await positions(states=None) == [3, 3, 4, 4, 5]
    assert await positions(states=("waiting",)) == [4, 4, 5]
    assert await positions(states=("skipped",)) == []
    assert await positions(states=None, event_type="test.projections.visited") == [5]
    assert await positions(kind="handler") == [3, 3]
    assert await positions(kind="database") == []
    assert await positions(name="guarded") == [3, 3]
    assert await positions(name="another") == []
    # An event over two keys is never cut in two by a page.
    assert await positions(states=None, limit=1) == [3, 3]
    assert await positions(states=None, from_position=3, limit=1) == [4, 4]
    assert await positions(states=None, from_position=4, limit=1) == [5]
    assert await positions(states=None, from_position=5, limit=1) == []


# --- Pausing, resuming, waiting ---------------------------------------------------------------------------------------


async def test_an_operator_pauses_and_resumes_from_anywhere(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    operations = ProjectionOperations(elsewhere)
    async with guarded(store, Guarded(), segments=4) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a")])
        await operations.wait_for("guarded", saved, timeout=30)
        await operations.pause("guarded", "a migration")
        saved = await store.append_to_stream("x-1", ANY, [visit("a")])
        with pytest.raises(ProjectionPausedError, match="an operator paused it"):
            await operations.wait_for("guarded", saved, timeout=30)
        (status,) = await operations.status("guarded")
        assert (status.state, status.failure, status.lag) == ("paused", None, 1)
        assert await check_against_fold(store, database_url, Guarded()) == 1
        await operations.resume("guarded", "done")
        await operations.wait_for("guarded", saved.global_position, timeout=30)
        await until_processed(service, "guarded", saved, timeout=30)
        await operations.wait_for("guarded", None, timeout=0)


async def test_events_meet_the_rows_as_an_operator_has_edited_them_during_a_pause(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    operations = ProjectionOperations(store)
    async with guarded(store, Guarded(), batch_size=2) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), visit("b")])
        await until_processed(service, "guarded", saved, timeout=30)
        await operations.pause("guarded")
        await connection.execute("update guarded__v1 set visits = 70 where page = 'b'")
        saved = await store.append_to_stream("x-1", ANY, [visit("b")])
        await operations.resume("guarded")
        await until_processed(service, "guarded", saved, timeout=30)

    _, tables = await tables_in(database_url, Guarded())
    assert tables["guarded"]["b"].visits == 71


async def test_nothing_is_retried_while_it_is_paused(store: PostgreSQLEventStore) -> None:
    operations = ProjectionOperations(store)
    projection = Guarded("a")
    async with guarded(store, projection) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
        await until_processed(service, "guarded", saved, timeout=30)
        await operations.pause("guarded")
        tried = len(projection.tried)
        await operations.retry("guarded")
        changes = runner_of(service).changes
        for _ in range(5):
            await changes.wait(changes.count, 30)
        assert len(projection.tried) == tried
        projection.bad.clear()
        await operations.resume("guarded")
        await until_parked(service, store)


async def test_waiting_elsewhere_in_vain_ends_with_the_lag(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with guarded(store, Guarded()):
        pass
    await connection.execute("update perdure.projections set is_shown = false")
    saved = await store.append_to_stream("x-1", ANY, [visit("a")])
    with pytest.raises(ProjectionTimeoutError) as late:
        await ProjectionOperations(elsewhere).wait_for("guarded", saved, timeout=0.05)
    assert (late.value.reached, late.value.global_position) == (0, 1)


async def test_unknown_names_and_stores_without_projections_are_refused(store: PostgreSQLEventStore) -> None:
    operations = ProjectionOperations(store)
    async with guarded(store, Guarded()):
        for call in (
            operations.status("guardd"),
            operations.pause("guardd"),
            operations.resume("guardd"),
            operations.retry("guardd"),
            operations.skip("guardd", 1, "no"),
            operations.wait_for("guardd", 1),
        ):
            with pytest.raises(UnknownProjectionError, match="guarded"):
                await call
        assert await operations.skip("guarded", 1, "nothing is parked") == 0
        assert await operations.retry("guarded") == 0
    with pytest.raises(UnsupportedOperationError, match="InMemoryEventStore"):
        ProjectionOperations(InMemoryEventStore())


# --- The record -------------------------------------------------------------------------------------------------------


async def test_the_audit_log_says_what_was_done_by_which_actor_and_why(store: PostgreSQLEventStore) -> None:
    operations = ProjectionOperations(store, actor="ann")
    projection = Guarded("a")
    async with guarded(store, projection, max_parked=2) as service:
        events = [Broken(page="a"), visit("a"), visit("a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await paused(service, saved.global_position)
        await operations.retry("guarded")
        with context(user_id="bob"):
            await ProjectionOperations(store).resume("guarded", "try again")

        async def failed_again() -> bool:
            return (await operations.parked())[0].attempts == 3 and (await service.status())[0].state == "paused"

        await until(service, failed_again)
        await operations.skip("guarded", 1, "a mistake")
        await operations.resume("guarded")
        await until_processed(service, "guarded", saved, timeout=30)
        await until_parked(service, store, (1, page("a"), SKIPPED))
        await operations.pause("guarded", "night")
        name = runner_of(service).name

    record = await operations.actions("guarded")
    assert [one.number for one in record] == sorted((one.number for one in record), reverse=True)
    assert {(one.name, one.version, one.build) for one in record} == {("guarded", 1, 1)}
    told = [(one.action, one.actor, one.reason, one.detail) for one in reversed(record)]
    a = page("a")
    full = told[1][2]
    assert full is not None
    assert "2 events are parked" in full
    assert told[:4] == [
        ("parked", name, "a is bad", {"key": a, "positions": [1]}),
        ("paused", name, full, {"positions": [3], "keys": [a]}),
        ("retry asked", "ann", None, {"key": a, "positions": [1]}),
        ("resumed", "bob", "try again", None),
    ]
    assert sorted(told[4:6], key=lambda one: one[0]) == [
        ("paused", name, full, {"positions": [3], "keys": [a]}),
        ("retry failed", name, "a is bad", {"key": a, "positions": [1]}),
    ]
    assert told[6:8] == [
        ("skipped", "ann", "a mistake", {"key": a, "positions": [1]}),
        ("resumed", "ann", None, None),
    ]
    retried = [one for one in told[8:] if one[0] == "retried"]
    assert sorted(position for one in retried for position in one[3]["positions"]) in ([2], [2, 3])
    assert told[-1] == ("paused", "ann", "night", None)
    assert await operations.actions("another") == []
    assert len(await operations.actions(limit=3)) == 3


async def test_without_a_name_the_actor_is_the_user_of_the_system(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded()):
        await ProjectionOperations(store).pause("guarded")
        (action,) = await ProjectionOperations(store).actions()
    assert "@" in action.actor


async def test_operators_that_act_at_once_do_not_lock_each_other_out(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    projection = Guarded(*"abcdef")
    operations = ProjectionOperations(store)
    async with guarded(store, projection, segments=8) as service:
        events = [event for name in "abcdef" for event in (Broken(page=name), visit(name))]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "guarded", saved, timeout=60)
        for _ in range(5):
            await asyncio.gather(
                operations.pause("guarded"),
                operations.retry("guarded"),
                operations.skip("guarded", 1, "no"),
                operations.resume("guarded"),
                operations.skip("guarded", 3, "no"),
                operations.retry("guarded", key=page("c")),
            )
        projection.bad.clear()
        await operations.resume("guarded")
        await operations.retry("guarded")
        await until_parked(service, store, (1, page("a"), SKIPPED), (3, page("b"), SKIPPED))
        await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("pause", ()),
        ("resume", ()),
        ("retry", ()),
        ("skip", (1, "a reason")),
        ("rebuild", ()),
        ("cancel_rebuild", ()),
        ("switch", ()),
        ("rollback", ()),
        ("drop", (1,)),
    ],
)
async def test_a_read_only_store_shows_projections_and_changes_nothing(
    store: PostgreSQLEventStore, database_url: str, operation: str, arguments: tuple[object, ...]
) -> None:
    async with guarded(store, Guarded()), PostgreSQLEventStore(database_url, read_only=True) as reading:
        operations = ProjectionOperations(reading)
        with pytest.raises(ReadOnlyStoreError):
            await getattr(operations, operation)("guarded", *arguments)

        assert [(one.name, one.state) for one in await operations.status("guarded")] == [("guarded", "running")]
        assert await operations.actions("guarded") == []

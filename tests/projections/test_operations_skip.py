"""Operators skip events: parked ones, and the one that a projection is paused before."""

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.status import SegmentStatus
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved
from tests.projections.parking_lot import (
    FAILED,
    SKIPPED,
    Guarded,
    Pausing,
    guarded,
    page,
    parked,
    paused,
    rows_of,
    runner_of,
    until,
    until_parked,
    until_processed,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


async def test_what_waits_behind_a_skipped_event_goes_on_by_itself(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    async with guarded(store, Guarded("a")) as service:
        events = [visit("a"), Broken(page="a"), visit("a"), visit("a"), visit("b")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "guarded", saved, timeout=30)
        assert await ProjectionOperations(elsewhere).skip("guarded", 2, "was a test") == 1
        await until_parked(service, store, (2, page("a"), SKIPPED))
        _, tables = await tables_in(database_url, Guarded())
        assert (tables["guarded"]["a"].visits, tables["guarded"]["a"].path) == (3, [])
        assert (await service.status())[0].skipped == 1
        await check_against_fold(store, database_url, Guarded())
        assert await ProjectionOperations(elsewhere).skip("guarded", 2, "again") == 0


async def test_an_event_that_waits_can_be_skipped_too(store: PostgreSQLEventStore, database_url: str) -> None:
    projection = Guarded("a")
    async with guarded(store, projection) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)
        assert await ProjectionOperations(store).skip("guarded", 2, "no") == 1
        projection.bad.clear()
        await ProjectionOperations(store).retry("guarded")
        await until_parked(service, store, (2, page("a"), SKIPPED))
        await check_against_fold(store, database_url, Guarded())


async def test_an_event_parked_for_two_keys_can_be_skipped_for_one(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    async with guarded(store, Guarded("a", "b")) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), Moved(source="a", target="b")])
        await until_processed(service, "guarded", saved, timeout=30)
        assert await ProjectionOperations(store).skip("guarded", 3, "no", key=page("b")) == 1
        assert await parked(store) == [(3, page("a"), FAILED), (3, page("b"), SKIPPED)]
        await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 8])
async def test_an_event_that_it_is_paused_before_can_be_skipped_for_the_row_it_fails_for(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    """The row of the other key gets it, whether its segment was there already or is still to come."""
    async with guarded(store, Pausing("a"), segments=segments) as service:
        events = [visit("a"), visit("b"), Moved(source="a", target="b"), visit("a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        assert (await paused(service, saved.global_position)).global_position == 3
        assert await ProjectionOperations(elsewhere).skip("pausing", 3, "was a test") == 1
        await until_processed(service, "pausing", saved, timeout=30)

        assert await parked(store) == [(3, page("a"), SKIPPED)]
        _, tables = await tables_in(database_url, Pausing())
        assert rows_of(tables, "pausing") == {"a": [], "b": ["a>b"]}
        assert tables["pausing"]["a"].visits == 2
        await check_against_fold(store, database_url, Pausing())


async def test_skipping_resumes_only_what_was_paused_before_that_event(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    """Not what an operator paused, nor what is paused before another event."""
    operations = ProjectionOperations(elsewhere)
    async with guarded(store, Pausing("a", "b"), segments=8) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), Broken(page="b"), visit("c")])

        async def both_are_paused() -> bool:
            return sum(one.is_paused for one in (await service.status())[0].segments) == 2

        await until(service, both_are_paused)
        await operations.pause("pausing", "maintenance")
        assert await operations.skip("pausing", 1, "no") == 1
        segments = (await service.status())[0].segments
        assert sum(one.is_paused for one in segments) == 7
        assert [one.failure.global_position for one in segments if one.failure] == [2]

        assert await operations.skip("pausing", 2, "no", key=page("z")) == 0
        assert await operations.skip("pausing", 2, "no", key=page("b")) == 1
        await operations.resume("pausing")
        await until_processed(service, "pausing", saved, timeout=30)
        await check_against_fold(store, database_url, Pausing())


async def test_a_skipped_event_is_not_tried_once_more_however_fast_the_projection_is_resumed(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a caller that waits reads that it goes on before the runner reads why."""
    monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 3600)
    projection = Pausing("a")
    async with guarded(store, projection) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("b")])
        await paused(service, saved.global_position)
        await ProjectionOperations(elsewhere).skip("pausing", 1, "no")
        await runner_of(service)._leases.read()
        await until_processed(service, "pausing", saved, timeout=30)
    assert projection.tried == ["a", "a"]


async def test_several_builds_skip_each_for_itself(store: PostgreSQLEventStore, database_url: str) -> None:
    class Later(Pausing, table="pausing", key="page", version=2):
        pass

    await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), visit("a")])
    async with guarded(store, Pausing("a")) as one, guarded(store, Later("a")):
        operations = ProjectionOperations(store)

        async def both() -> list[SegmentStatus]:
            return [segment for status in await operations.status("pausing") for segment in status.segments]

        async def both_are_paused() -> bool:
            return [segment.is_paused for segment in await both()] == [True, True]

        async def both_are_done() -> bool:
            return [segment.global_position for segment in await both()] == [3, 3]

        await until(one, both_are_paused)
        assert await operations.skip("pausing", 2, "no") == 2
        await until(one, both_are_done)
        skipped = await operations.parked(states=("skipped",))
        assert [(one.version, one.global_position) for one in skipped] == [(1, 2), (2, 2)]
        await check_against_fold(store, database_url, Pausing())
        await check_against_fold(store, database_url, Later())


async def test_an_event_that_can_not_be_decoded_is_skipped_as_a_whole(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("a"), visit("b")])
    await connection.execute("alter table perdure.events disable trigger user")
    await connection.execute("update perdure.events set event_data = '{\"page\":5}' where global_position = 2")
    async with guarded(store, Guarded(), segments=4) as service:
        await paused(service, saved.global_position)

        async def all_are() -> bool:
            return all(one.is_paused for one in (await service.status())[0].segments)

        await until(service, all_are)
        assert await ProjectionOperations(store).skip("guarded", 2, "garbage") == 1
        await until_processed(service, "guarded", saved, timeout=30)
        assert await parked(store) == [(2, "", SKIPPED)]
        await check_against_fold(store, database_url, Guarded())


async def test_what_was_skipped_long_ago_is_not_loaded_again(store: PostgreSQLEventStore) -> None:
    projection = Pausing("a")
    async with guarded(store, projection) as service:
        for _ in range(3):
            saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
            await paused(service, saved.global_position)
            await ProjectionOperations(store).skip("pausing", saved.global_position, "no")
            await until_processed(service, "pausing", saved, timeout=30)
        failures = runner_of(service)._failures
        await failures.read()
    assert (failures.blocked.skipped, len(await parked(store))) == (frozenset(), 3)

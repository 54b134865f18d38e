"""Rebuilds: beside what is shown, from the beginning, compared, switched, taken back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import BuildStateError, ProjectionPausedError, UnknownBuildError, UnknownProjectionError
from perdure.projections.builds.comparison import BuildComparison, NotComparableError
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Broken, Pages, Totals
from tests.projections.rebuilding import builds, until, until_ready, until_shown, visits

pytestmark = pytest.mark.usefixtures("quick_rebuilds")

FIRST, SECOND, THIRD = (BuildId("pages", 1, number) for number in (1, 2, 3))


async def total(connection: asyncpg.Connection, relation: str = "pages") -> int:
    count: int = await connection.fetchval(f"select coalesce(sum(visits), 0)::int from {relation}")
    return count


async def test_a_rebuild_catches_up_and_is_shown(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()], batch_size=7) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(50))
        await service.wait_for("pages", saved, timeout=30)
        begun = await ProjectionOperations(store).rebuild("pages")
        await until_shown(store, SECOND)
        later = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", later, timeout=30)
        assert await total(connection) == 55

    assert (begun.build, begun.stage, begun.is_shown) == (2, "building", False)
    assert await check_against_fold(store, database_url, Pages(), build=2) == later.global_position
    actions = [action.action for action in reversed(await ProjectionOperations(store).actions("pages"))]
    assert actions == ["rebuild asked", "compared", "switched"]


async def test_regression_13_a_rebuild_skips_no_event_that_commits_late(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        early = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", early, timeout=30)
        async with store.transaction() as late:
            await store.append_to_stream("x-2", ANY, visits(7), tx=late)
            last = await store.append_to_stream("x-1", ANY, visits(3))
            await ProjectionOperations(store).rebuild("pages")

            async def has_read_all_that_it_may() -> bool:
                found = await builds(store)
                return SECOND in found and found[SECOND].global_position >= early.global_position

            await until(has_read_all_that_it_may)
        await until_shown(store, SECOND)
        await service.wait_for("pages", last, timeout=30)
        assert await total(connection) == 15

    assert await check_against_fold(store, database_url, Pages(), build=2) == last.global_position


async def test_rebuilds_finish_with_only_one_connection_left_in_the_pool(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.builds.comparison._HOLD_SECONDS", 0.5)
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages(), Totals()]) as service, AsyncExitStack() as others:
        saved = await store.append_to_stream("x-1", ANY, visits(50))
        await service.wait_for("pages", saved, timeout=30)
        for _ in range(9):  # of ten
            await others.enter_async_context(store.database.connection())
        await operations.rebuild("pages")
        await operations.rebuild("totals")
        await asyncio.gather(until_shown(store, SECOND), until_shown(store, BuildId("totals", 1, 2)))

    compared = [action for action in await operations.actions() if action.action == "compared"]
    assert [action.detail["outcome"] for action in compared] == ["equal", "equal"]
    assert await check_against_fold(store, database_url, Pages(), build=2) == saved.global_position


async def test_a_caller_that_waits_for_a_stalled_build_is_served_by_the_build_shown_instead(
    store: PostgreSQLEventStore,
) -> None:
    saved = await store.append_to_stream("x-1", ANY, [*visits(5), Broken(page="p1")])
    broken = ProjectionService(store, [Pages(is_broken=True)], retry=RetryConfig(max_attempts=1))
    await broken.start()
    with pytest.raises(ProjectionPausedError):
        await broken.wait_for("pages", saved, timeout=30)
    look = broken._builds._task
    assert look is not None
    look.cancel()  # it doesn't see what is built, as between two looks
    async with ProjectionService(store, [Pages()]):
        await ProjectionOperations(store).rebuild("pages")
        await until_shown(store, SECOND)
        await broken.wait_for("pages", saved, timeout=30)
    await broken.stop()


async def test_nothing_is_rebuilt_twice_at_once(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]):
        pass
    operations = ProjectionOperations(store)
    await operations.rebuild("pages")

    with pytest.raises(BuildStateError, match="being built already") as caught:
        await operations.rebuild("pages")
    with pytest.raises(UnknownProjectionError):
        await operations.rebuild("others")
    assert (caught.value.version, caught.value.build) == (1, 2)


async def test_a_cancelled_rebuild_leaves_nothing_behind(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
        await operations.rebuild("pages", switch="manual")
        await until_ready(store, SECOND)
        await operations.cancel_rebuild("pages", reason="a mistake")
        with pytest.raises(BuildStateError, match="nothing is being built"):
            await operations.cancel_rebuild("pages")
        later = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", later, timeout=30)
        await until(lambda: _is_run_by(service, [FIRST]))

    assert list(await builds(store)) == [FIRST]
    assert await connection.fetchval("select to_regclass('pages__v1_2') is null")
    assert await total(connection) == 10
    assert (await operations.actions("pages"))[0].reason == "a mistake"


async def _is_run_by(service: ProjectionService, expected: list[BuildId]) -> bool:
    return [runner.definition.build for runner in service._builds.runners_of("pages")] == expected


async def test_a_rebuild_that_is_switched_by_hand_waits_for_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
        await operations.rebuild("pages", switch="manual", segments=3)
        ready = await until_ready(store, SECOND)
        assert (ready.stage, ready.is_shown, ready.progress, len(ready.segments)) == ("ready", False, 1.0, 3)

        status = await operations.switch("pages", reason="looks good")
        assert (status.build, status.is_shown, status.stage) == (2, True, "retained")
        status = await operations.rollback("pages")
        assert (status.build, status.is_shown) == (1, True)
        status = await operations.rollback("pages")
        assert (status.build, status.is_shown) == (2, True)

    done = [(action.build, action.action) for action in reversed(await operations.actions("pages"))]
    assert done[2:] == [(2, "switched"), (1, "rolled back"), (2, "rolled back")]


async def test_what_was_shown_before_is_kept_up_to_date_until_the_next_rebuild(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        await operations.rebuild("pages")
        await until_shown(store, SECOND)
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
        status = await operations.rollback("pages")
        assert (status.build, status.lag, status.state) == (1, 0, "running")
        assert await total(connection) == 5

        await operations.rebuild("pages")
        await until_shown(store, THIRD)
        await until(lambda: _are(store, [FIRST, THIRD]))

    assert await connection.fetchval("select to_regclass('pages__v1_2') is null")
    with pytest.raises(BuildStateError, match="is shown"):
        await operations.drop("pages", 1, 3)
    await operations.drop("pages", 1)
    assert list(await builds(store)) == [THIRD]
    with pytest.raises(UnknownBuildError):
        await operations.rollback("pages")
    # A service finds the build that is left, and makes no first one again.
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
    assert await total(connection) == 10
    assert list(await builds(store)) == [THIRD]


async def _are(store: PostgreSQLEventStore, expected: list[BuildId]) -> bool:
    return list(await builds(store)) == expected


async def test_two_services_rebuild_together(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.05)
    await store.append_to_stream("x-1", ANY, visits(400))
    async with (
        PostgreSQLEventStore(database_url) as elsewhere,
        ProjectionService(store, [Pages()], batch_size=10),
        ProjectionService(elsewhere, [Pages()], batch_size=10),
    ):
        await ProjectionOperations(store).rebuild("pages", segments=4)
        await until_shown(store, SECOND)
        saved = await store.append_to_stream("x-1", ANY, visits(3))
        await ProjectionOperations(store).wait_for("pages", saved, timeout=30)
        await until(lambda: _owners(store, 2))

    assert await check_against_fold(store, database_url, Pages(), build=2) == saved.global_position


async def _owners(store: PostgreSQLEventStore, count: int) -> bool:
    return len((await builds(store))[SECOND].owners) == count


async def test_a_rebuild_replaces_a_paused_build(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    """What is shown stands still: there is nothing to compare with, and nothing to wait for."""
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
        await operations.pause("pages")
        await store.append_to_stream("x-1", ANY, visits(5))
        await operations.rebuild("pages")
        await until_shown(store, SECOND)

    assert await total(connection) == 10
    (compared,) = [action for action in await operations.actions("pages") if action.action == "compared"]
    assert compared.detail["outcome"] == "not comparable"


async def test_a_comparison_that_takes_too_long_is_made_again(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_one_position = BuildComparison._at_one_position
    tries = 0

    @asynccontextmanager
    async def slow(self: BuildComparison) -> AsyncIterator[Any]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise NotComparableError
        async with at_one_position(self) as connection:
            yield connection

    monkeypatch.setattr(BuildComparison, "_at_one_position", slow)
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]):
        await operations.rebuild("pages")
        await until_shown(store, SECOND)

    (compared,) = [action for action in await operations.actions("pages") if action.action == "compared"]
    assert (tries, compared.detail["outcome"]) == (2, "equal")

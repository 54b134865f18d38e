"""Parked events count exactly once, whatever happens in whatever order."""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.checking import check_against_fold, stored_in
from tests.projections.counting import Broken, Closed, Moved
from tests.projections.parking_lot import (
    AT_ONCE,
    SKIPPED,
    Guarded,
    page,
    until,
    visit,
)
from tests.projections.test_exactly_once import reset

pytestmark = pytest.mark.usefixtures("quick_beats")


PAGES = "abcd"
steps = st.one_of(
    st.tuples(
        st.just("append"), st.lists(st.sampled_from(["visit", "broken", "moved", "closed"]), min_size=1, max_size=8)
    ),
    st.tuples(st.just("spoil"), st.sets(st.sampled_from(PAGES))),
    st.tuples(st.just("retry"), st.none() | st.sampled_from(PAGES)),
    st.tuples(st.just("skip"), st.integers(0, 40)),
    st.tuples(st.just("pause"), st.none()),
    st.tuples(st.just("resume"), st.none()),
    st.tuples(st.just("restart"), st.integers(1, 9)),
    st.tuples(st.just("settle"), st.none()),
)


class World:
    """A service, and all that may happen to it."""

    def __init__(
        self, store: PostgreSQLEventStore, drawn: random.Random, since: int, on_failure: Any, **options: Any
    ) -> None:
        bad = self.bad = set[str]()

        class Drawn(Guarded, table="guarded", key="page", on_failure=on_failure):
            def _check(self, page: str) -> None:
                if page in bad:
                    raise RuntimeError(f"{page} is bad")

        self.projection = Drawn
        self.store, self.drawn, self.since, self.saved = store, drawn, since, since
        self.options = options
        self.operations = ProjectionOperations(store)
        self.stack = AsyncExitStack()

    async def restart(self, batch_size: int) -> None:
        await self.stack.aclose()
        service = ProjectionService(
            self.store, [self.projection()], retry=AT_ONCE, batch_size=batch_size, **self.options
        )
        self.service = await self.stack.enter_async_context(service)

    async def append(self, kinds: list[str]) -> None:
        events = []
        for kind in kinds:
            one, other = self.drawn.choice(PAGES), self.drawn.choice(PAGES)
            made = {"visit": visit(one), "broken": Broken(page=one), "closed": Closed(page=one)}
            events.append(made.get(kind) or Moved(source=one, target=other))
        self.saved = (await self.store.append_to_stream("x-1", ANY, events)).global_position

    async def spoil(self, pages: set[str]) -> None:
        self.bad.clear()
        self.bad.update(pages)

    async def retry(self, name: str | None) -> None:
        await self.operations.retry("guarded", key=name and page(name))

    async def skip(self, position: int) -> None:
        await self.operations.skip("guarded", self.since + position, "drawn")

    async def pause(self, _: None) -> None:
        await self.operations.pause("guarded")

    async def resume(self, _: None) -> None:
        await self.operations.resume("guarded")

    async def settle(self, _: None) -> None:
        async def is_settled() -> bool:
            (status,) = await self.service.status()
            return all(one.is_paused or one.global_position >= self.saved for one in status.segments)

        await until(self.service, is_settled)

    async def is_done(self) -> bool:
        (status,) = await self.service.status()
        return (status.failed, status.waiting) == (0, 0) and status.global_position >= self.saved


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
@given(
    seed=st.integers(0, 2**32),
    plan=st.lists(steps, min_size=3, max_size=14),
    segments=st.sampled_from([1, 2, 5]),
    on_failure=st.sampled_from(["park", "pause"]),
    max_parked=st.sampled_from([3, 1000]),
)
async def test_whatever_is_done_in_whatever_order_the_rows_are_those_of_a_fresh_fold(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    database_url: str,
    seed: int,
    plan: list[tuple[str, Any]],
    segments: int,
    on_failure: str,
    max_parked: int,
) -> None:
    """And in the end, with nothing bad any more, everything is taken but what was skipped."""
    await reset(connection)
    since = await connection.fetchval("select coalesce(max(global_position), 0) from perdure.events")
    world = World(store, random.Random(seed), since, on_failure, segments=segments, max_parked=max_parked)
    async with world.stack:
        await world.restart(3)
        for action, detail in plan:
            await getattr(world, action)(detail)
            await check_against_fold(store, database_url, Guarded())
        await world.spoil(set())
        async with asyncio.timeout(patience(60)):
            while not await world.is_done():
                await world.retry(None)
                await world.resume(None)
                await world.settle(None)
        await check_against_fold(store, database_url, Guarded())
    assert {row["state"] for row in (await stored_in(database_url, Guarded())).parked} <= {SKIPPED}

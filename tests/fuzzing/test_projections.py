"""Whatever happens while the log grows, the rows are those of a fresh fold: batches, segments, crashes, rebuilds."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import ANY, PostgreSQLEventStore, ProjectionService, RetryConfig
from perdure.errors import BuildStateError, UnknownProjectionError
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.status import ProjectionStatus
from tests.databases import Databases
from tests.patience import patience
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages
from tests.projections.rebuilding import until
from tests.projections.sabotage import Saboteur
from tests.projections.test_exactly_once import drawn_events

SERVICES = st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 12), st.integers(0, 2**32)),
    st.tuples(st.just("append_late"), st.integers(1, 3), st.integers(0, 2**32)),
    st.tuples(st.just("commit_late")),
    st.tuples(st.just("run"), SERVICES, st.sampled_from([1, 2, 5, 500])),
    st.tuples(st.just("stop"), SERVICES),
    st.tuples(st.just("cut"), st.integers(1, 30), st.booleans()),
    st.tuples(st.just("rebuild")),
    st.tuples(st.just("settle")),
)


class World:
    """A log, one service or two, and all that may happen to them."""

    def __init__(self, url: str, segments: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url, self._segments, self._monkeypatch = url, segments, monkeypatch
        self._services: dict[int, AsyncExitStack] = {}
        self._late: AsyncExitStack | None = None
        self._store = PostgreSQLEventStore(url)
        self._operations = ProjectionOperations(self._store)

    async def play(self, plan: list[tuple[Any, ...]]) -> None:
        async with self._store:
            await self.run(0, 5)
            for action, *details in plan:
                await getattr(self, action)(*details)
                await self.check()
            await self.run(0, 5)
            await self.settle()
            for status in await self._operations.status("pages"):
                assert status.lag == 0
                assert await self._fits(status) == status.global_position
            for service in [*self._services]:
                await self.stop(service)

    async def append(self, count: int, seed: int) -> None:
        await self._store.append_to_stream("x-1", ANY, drawn_events(count, seed))

    async def append_late(self, count: int, seed: int) -> None:
        """Draw positions now, and commit later."""
        if self._late is None:
            self._late = AsyncExitStack()
            tx = await self._late.enter_async_context(self._store.transaction())
            await self._store.append_to_stream("x-late", ANY, drawn_events(count, seed), tx=tx)

    async def commit_late(self) -> None:
        if self._late is not None:
            await self._late.aclose()
            self._late = None

    async def run(self, service: int, batch_size: int) -> None:
        """Start a service, or start it anew, as a process of its own would be."""
        await self.stop(service)
        stack = self._services[service] = AsyncExitStack()
        store = await stack.enter_async_context(PostgreSQLEventStore(self._url))
        await stack.enter_async_context(
            ProjectionService(store, [Pages()], batch_size=batch_size, segments=self._segments)
        )

    async def stop(self, service: int) -> None:
        if (stack := self._services.pop(service, None)) is not None:
            await stack.aclose()

    async def cut(self, at: int, after: bool) -> None:
        """Cut a connection before or after one of the statements to come."""
        Saboteur(at, after=after, by="perdure").install(self._monkeypatch)

    async def rebuild(self) -> None:
        with suppress(BuildStateError, UnknownProjectionError):  # one is under way, or there is none yet
            await self._operations.rebuild("pages")

    async def settle(self) -> None:
        await self.commit_late()
        if not self._services:
            await self.run(0, 5)
        last = await self._store.read_all_events_backwards(max_count=1)

        async def is_settled() -> bool:
            found = await self._operations.status("pages")
            position = last[0].global_position if last else 0
            return all(one.global_position >= position and one.stage != "building" for one in found)

        await until(is_settled)

    async def check(self) -> None:
        [shown] = [one for one in await self._operations.status("pages") if one.is_shown]
        await self._fits(shown)

    async def _fits(self, status: ProjectionStatus) -> int:
        try:
            return await check_against_fold(self._store, self._url, Pages(), build=status.build)
        except asyncpg.UndefinedTableError:
            # It was dropped meanwhile, for another is shown.
            assert status.build not in [one.build for one in await self._operations.status("pages")]
            return status.global_position


@settings(max_examples=settings().max_examples // 5)  # each takes a second or more
@given(plan=st.lists(steps, min_size=3, max_size=12), segments=st.sampled_from([1, 2, 7]))
async def test_whatever_happens_the_rows_are_those_of_a_fresh_fold(
    databases: Databases, plan: list[tuple[Any, ...]], segments: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.02)
        monkeypatch.setattr("perdure.projections.runtime.supervisor._POLL_INTERVAL", 0.02)
        monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
        async with asyncio.timeout(patience(60)), databases.one() as url:
            await World(url, segments, monkeypatch).play(plan)

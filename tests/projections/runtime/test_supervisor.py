"""The supervisor of builds: pauses after errors, and callers that wait for what the views show."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.commit import ANY
from perdure.errors import BuildStateError
from perdure.events import StoredEvent
from perdure.projections.builds.completion import BuildCompletion
from perdure.projections.engine import BatchResult
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.operations import ProjectionOperations
from perdure.projections.runtime.supervisor import BuildSupervisor, ListedBuild
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Segment
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages
from tests.projections.raising import PanicException
from tests.projections.rebuilding import until_ready, visits

pytestmark = pytest.mark.usefixtures("quick_rebuilds")


class BackOff:
    """Pauses that aren't drawn: none at first, then one that doesn't end while a test runs."""

    def __init__(self, *, attempts: int) -> None:
        self.asked: list[int] = []
        self._attempts = attempts

    def delay(self, attempt: int) -> float:
        self.asked.append(attempt)
        return 0.0 if len(self.asked) < self._attempts else 1_000_000.0


class Polls:
    """Counts how often supervisors read the list of builds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._done = asyncio.Condition()
        self._count = 0
        read = BuildSupervisor._list

        async def read_and_count(supervisor: BuildSupervisor) -> list[ListedBuild]:
            listed = await read(supervisor)
            async with self._done:
                self._count += 1
                self._done.notify_all()
            return listed

        monkeypatch.setattr(BuildSupervisor, "_list", read_and_count)

    async def more(self, count: int) -> None:
        """Wait for that many polls from now on."""
        async with self._done:
            last = self._count + count
            await self._done.wait_for(lambda: self._count >= last)


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), PanicException("a bug"), BuildStateError("pages", 1, 2, "as asked")]
)
async def test_the_completion_of_a_build_backs_off_after_any_error(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The supervisor polls on during the pause, and doesn't try again."""
    polls, back_off, tries, is_paused = Polls(monkeypatch), BackOff(attempts=3), 0, asyncio.Event()

    async def fail(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            is_paused.set()
        raise error

    monkeypatch.setattr("perdure.projections.runtime.supervisor._BACK_OFF", back_off)
    monkeypatch.setattr(BuildCompletion, "complete", fail)
    async with ProjectionService(store, [Pages()]):
        await store.append_to_stream("x-1", ANY, visits(5))
        await ProjectionOperations(store).rebuild("pages")
        await is_paused.wait()
        await polls.more(20)

    assert (tries, back_off.asked) == (3, [1, 2, 3])


async def test_a_caller_that_waits_goes_on_with_the_build_that_the_views_show_meanwhile(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build that was shown before is stuck: it announces nothing that would wake the caller."""
    process, stuck, may_go_on = TableProcessor.process, asyncio.Event(), asyncio.Event()

    async def process_or_hang(
        self: TableProcessor, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope
    ) -> BatchResult:
        if self._definition.build.build == 1:
            stuck.set()
            await may_go_on.wait()
        return await process(self, group, events, scope)

    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await operations.rebuild("pages", switch="manual")
        await until_ready(store, BuildId("pages", 1, 2))
        await service.wait_for("pages", saved, timeout=1_000_000)

        monkeypatch.setattr(TableProcessor, "process", process_or_hang)
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await stuck.wait()
        waiting: asyncio.Task[Any] = asyncio.create_task(service.wait_for("pages", saved, timeout=1_000_000))
        await operations.switch("pages")
        await waiting
        (first, second) = await service.status()
        may_go_on.set()

    assert (first.is_shown, second.is_shown) == (False, True)
    assert first.global_position < saved.global_position

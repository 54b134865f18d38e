"""Every background task of a store or a service, and what makes it work, so that an error can be injected into it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import PerdureError
from perdure.events import handles
from perdure.observation import Observer, observe
from perdure.projections.engines.reaction.calls import Calls
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.timers.clockwork import Clockwork
from perdure.reaction import Delivery, Reaction
from perdure.retry import RetryConfig
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.tasks import Tasks
from tests.projections.counting import Pages, Visited


class PanicException(BaseException):
    """As a Rust extension raises it that panics. No ``except Exception`` on the way catches it."""


class World(NamedTuple):
    """A store, and a service if the task is one of it."""

    store: PostgreSQLEventStore
    service: ProjectionService | None
    tasks: Tasks
    stack: AsyncExitStack

    def in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self.stack.push_async_callback(_ended, task)


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))


class Faulty(NamedTuple):
    """A task, and how it is made to work."""

    name: str
    """The name of the task."""
    provoke: Callable[[World], Coroutine[Any, Any, None]]
    """Gives the task something to do. It is called again and again until the error is logged."""
    is_of_service: bool = False
    is_kept: bool = True
    """Whether it runs until it is stopped, so that it is started again."""
    survives_exceptions: bool = False
    """Whether it handles any `Exception` itself, so that only another error ends it."""
    logger: str = "perdure.tasks"
    """The logger that reports the error."""


async def _nothing(_: World) -> None:
    await asyncio.sleep(0)


async def _append(world: World) -> None:
    with suppress(PerdureError, PanicException):
        await world.store.append_to_stream("site-1", ANY, [Visited(page="a", visitor="x")])


async def _notify(world: World) -> None:
    world.store.wake()


async def _listen(world: World) -> None:
    world.store.subscribe()


async def _wait_at_the_head(world: World) -> None:
    world.in_background(_first(world.store))


async def _first(store: PostgreSQLEventStore) -> None:
    await anext(store.subscribe())


async def _read_two_pages(world: World) -> None:
    subscription = world.store.subscribe()
    full = subscription.page_size.limit
    if not await world.store.stream_version("site-1"):
        await world.store.append_to_stream("site-1", ANY, [Visited(page="a", visitor="x") for _ in range(2 * full)])
    for _ in range(full + 1):
        await anext(subscription)


async def _cut_off(world: World) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.store.database.fetch("select pg_sleep(60)")


async def _rebuild(world: World) -> None:
    operations = ProjectionOperations(world.store)
    if len(await operations.status("pages")) < 2:
        await operations.rebuild("pages")


class Noticing(Reaction, name="noticing", start=0, retry=RetryConfig(max_attempts=2, base_delay=0, max_delay=0)):
    """Fails for each event at first."""

    @handles
    async def visited(self, event: Visited, call: Delivery) -> None:
        if call.attempt == 1:
            raise ConnectionError


async def _fire_timers(world: World) -> None:
    if all(task.get_name() != "perdure timers" for task in asyncio.all_tasks()):
        clockwork = Clockwork(world.store, world.tasks)
        clockwork.start()
        world.stack.push_async_callback(clockwork.stop)


TASKS = {
    "stores/postgres/appends/group_commit.py GroupAppender.start": Faulty(
        "perdure append lane 0", _append, survives_exceptions=True
    ),
    "stores/postgres/notifier.py Notifier.start": Faulty("perdure notifier", _notify),
    "stores/postgres/notifier.py Notifier.listen": Faulty("perdure listener", _listen),
    "stores/postgres/standby_publisher.py StandbyPublisher.start": Faulty("perdure standby publisher", _nothing),
    "stores/postgres/connections/pool.py Pool.restore": Faulty(
        "perdure pool", _cut_off, is_kept=False, survives_exceptions=True
    ),
    "head.py Head._begin": Faulty("perdure poll of the head of the log", _wait_at_the_head, is_kept=False),
    "subscription.py _Prefetch.__init__": Faulty("perdure subscription, reading ahead", _read_two_pages, is_kept=False),
    "projections/runtime/runner.py Runner.start": Faulty(
        "perdure projection pages", _nothing, is_of_service=True, survives_exceptions=True
    ),
    "projections/runtime/supervisor.py BuildSupervisor.start": Faulty(
        "perdure projection builds", _nothing, is_of_service=True
    ),
    "projections/runtime/supervisor.py BuildSupervisor._begin_completion": Faulty(
        "perdure projection pages completion", _rebuild, is_of_service=True, is_kept=False, logger="perdure.projections"
    ),
    "projections/engines/reaction/processor.py ReactionProcessor._employ": Faulty(
        "perdure reaction noticing, calls", _append, is_of_service=True, is_kept=False
    ),
    "projections/engines/reaction/parked_deliveries.py ParkedDeliveries.retry": Faulty(
        "perdure reaction noticing, retry", _append, is_of_service=True, is_kept=False
    ),
    "projections/timers/clockwork.py Clockwork.start": Faulty("perdure timers", _fire_timers),
    "projections/service.py ProjectionService.start": Faulty(
        "perdure status of projections", _nothing, is_of_service=True
    ),
}
"""By the module and the function that start the task; `tests/structure` sees that none is missing."""


class Fault:
    """Raises an error from the first call to the database, or of a reaction, that a task makes, as long as it is on."""

    def __init__(self, task: str, error: type[BaseException]) -> None:
        self.is_on = True
        self.count = 0
        self._task = task
        self._error = error

    def inject(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for cls, names in (
            (Database, ("connect", "connect_directly", "connection", "fetch")),
            (Reader, ("log_page",)),
            (Calls, ("deliver",)),
            (asyncpg.Connection, ("reset",)),
        ):
            for name in names:
                monkeypatch.setattr(cls, name, self._faulty(getattr(cls, name)))

    def _faulty(self, original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            task = asyncio.current_task()
            if self.is_on and task is not None and task.get_name() == self._task:
                self.count += 1
                raise self._error("injected")
            return original(*arguments, **options)

        return call


@asynccontextmanager
async def world_of(store: PostgreSQLEventStore, faulty: Faulty) -> AsyncIterator[World]:
    """A store, and a service whose tasks are observed, all of whose background work ends with the block."""
    observe(Observer())
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(store)
            service = None
            if faulty.is_of_service:
                service = await stack.enter_async_context(ProjectionService(store, [Pages(), Noticing()]))
            tasks = store.tasks if service is None else service._builds.tasks
            yield World(store, service, tasks, await stack.enter_async_context(AsyncExitStack()))
    finally:
        observe(None)

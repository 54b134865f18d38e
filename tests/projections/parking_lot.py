"""A projection that fails for chosen pages, and how to wait for what happens to its events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest

from perdure.errors import EventParkedError, ProjectionPausedError
from perdure.events import handles
from perdure.projection import TableProjection
from perdure.projections.operations import ParkedEvent, ProjectionOperations
from perdure.projections.runtime.progress import Saved
from perdure.projections.runtime.runner import Runner
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.counting import Broken, Moved, Page, Pages, Visited

AT_ONCE = RetryConfig(max_attempts=2, base_delay=0)

FAILED, WAITING, SKIPPED = "failed", "waiting", "skipped"


class Guarded(Pages, table="guarded", key="page", on_failure="park"):
    """Fails for the pages that are bad: `Broken` always, `Moved` where there is a row, `Visited` of a bad visitor."""

    def __init__(self, *bad: str) -> None:
        super().__init__()
        self.bad = set(bad)
        self.tried: list[str] = []

    @handles
    def broken(self, event: Broken, row: Page | None) -> Page | None:
        row = row or Page(event.page)
        row.path.append("broken")
        self._check(event.page)
        return row

    @handles
    def moved(self, event: Moved, row: Page | None) -> Page | None:
        if row is not None:
            row.path.append(f"{event.source}>{event.target}")
            self._check(row.page)
        return row

    def _check(self, page: str) -> None:
        self.tried.append(page)
        if page in self.bad:
            raise RuntimeError(f"{page} is bad")


class Pausing(Guarded, table="pausing", key="page", on_failure="pause"):
    """The same, but it pauses."""


def guarded(store: PostgreSQLEventStore, projection: TableProjection[Any], **options: Any) -> ProjectionService:
    return ProjectionService(store, [projection], retry=AT_ONCE, **options)


def visit(page: str, visitor: str = "x") -> Visited:
    return Visited(page=page, visitor=visitor)


def runner_of(service: ProjectionService) -> Runner:
    (runner,) = service._builds._runners.values()
    return runner


async def until(service: ProjectionService, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that a service does by itself: looked at whenever it did anything."""
    changes = runner_of(service).changes
    async with asyncio.timeout(patience(60)):
        while True:
            seen = changes.count
            if await condition():
                return
            await changes.wait(seen, 1)


async def parked(store: PostgreSQLEventStore, *states: str) -> list[tuple[int, str, str]]:
    """What is parked, each with its position, its key and its state."""
    found = await everything_parked(store)
    return [(one.global_position, one.key, one.state) for one in found if not states or one.state in states]


async def everything_parked(store: PostgreSQLEventStore) -> list[ParkedEvent]:
    return await ProjectionOperations(store).parked(states=None, limit=10_000)


async def until_parked(
    service: ProjectionService, store: PostgreSQLEventStore, *expected: tuple[int, str, str]
) -> None:
    async def is_so() -> bool:
        return await parked(store) == list(expected)

    await until(service, is_so)


def page(name: str) -> str:
    """A key as operators see it."""
    return f'{{"page":"{name}"}}'


def rows_of(tables: dict[str, dict[str, Page]], view: str = "guarded") -> dict[str, list[str]]:
    """The path of each page."""
    return {name: row.path for name, row in tables[view].items()}


async def paused(service: ProjectionService, position: int) -> ProjectionPausedError:
    with pytest.raises(ProjectionPausedError) as caught:
        await service.wait_for(runner_of(service).definition.name, position, timeout=30)
    return caught.value


def bad_ones(pages: Iterable[str]) -> list[Broken]:
    return [Broken(page=one) for one in pages]


async def until_processed(
    waiter: ProjectionService | ProjectionOperations, name: str, saved: Saved, timeout: float = 60
) -> None:
    """Wait until events were processed: each is in the rows, or parked."""
    with suppress(EventParkedError):
        await waiter.wait_for(name, saved, timeout=timeout)

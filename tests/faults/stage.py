"""What each fault is given: servers, a history, load, and moments at which to strike."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from perdure.commit import AppendResult, Commit
from perdure.projections.operations import ProjectionOperations
from perdure.store import EventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Report, Tally, Workload, check, read_rows
from perdure.transaction import Transaction
from tests.cluster import Server, Servers

WRITERS = 16


class NotRun(Exception):  # noqa: N818 - it is no error: a system lacks what the fault needs
    """The fault can't be brought about here; the reason says what is missing."""


class Stage(NamedTuple):
    """Where a fault strikes."""

    cluster: Servers
    history: Path
    """The folder for the history."""
    seconds: float
    """How long the load lasts."""
    settings: Mapping[str, str]
    """Of the servers."""

    async def server(self, **settings: str) -> Server:
        """A server."""
        return await self.cluster.primary(settings={**self.settings, **settings})

    @asynccontextmanager
    async def load(
        self, url: str, store_class: type[PostgreSQLEventStore] | None = None, **options: Any
    ) -> AsyncGenerator[Workload]:
        """Writers and followers at work on a store, who have begun when the block begins."""
        async with (store_class or Varied)(url, **options) as store, self.load_on(store) as workload:
            yield workload

    @asynccontextmanager
    async def load_on(self, store: EventStore) -> AsyncGenerator[Workload]:
        """The same, on a store that is open."""
        async with Workload(store, self.history, writers=WRITERS) as workload:
            await until(lambda: workload.acknowledged > 0)
            yield workload

    async def moments(self, shortest: float = 0.2, longest: float = 1.0) -> AsyncIterator[int]:
        """Moments at random, until the time is over; at least one."""
        now = asyncio.get_running_loop().time
        end = now() + self.seconds
        number = 0
        while not number or now() < end:
            await asyncio.sleep(random.uniform(shortest, longest))
            yield number
            number += 1
        await asyncio.sleep(max(0.2, end - now()))

    async def judged(self, url: str) -> Report:
        """What the checker says of the log, the writers and the followers."""
        async with PostgreSQLEventStore(url) as store:
            return await check(store, self.history)

    async def judged_with_rows(self, url: str) -> Report:
        """The same, and of a read model, once it has caught up."""
        async with PostgreSQLEventStore(url) as store:
            [last] = await store.read_all_events_backwards(max_count=1)
            await ProjectionOperations(store).wait_for("perdure_checker_tally", last.global_position, timeout=60)
            return await check(store, self.history, read_models=[(Tally(), await read_rows(store, Tally()))])


class Varied(PostgreSQLEventStore):
    """Appends now and then in a transaction of its own, as users may."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        if tx is None and random.random() < 0.2:
            async with self.transaction() as own:
                return await super().append(commit, own)
        return await super().append(commit, tx)


async def until(condition: Callable[[], bool], timeout: float = 60) -> None:
    """Let the load go on until something holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - told to nobody
            await asyncio.sleep(0.005)


async def more(workload: Workload, count: int = 20) -> None:
    """Until the writers have got on."""
    due = workload.acknowledged + count
    await until(lambda: workload.acknowledged >= due)


async def insistently(ask: Callable[[], Awaitable[Any]], timeout: float = 60) -> Any:
    """The answer of a server that may be about to recover."""
    async with asyncio.timeout(timeout):
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return await ask()
            await asyncio.sleep(0.02)

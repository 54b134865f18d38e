"""Perdure, as its documents say."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
from nats.aio.client import Client

from benchmarks.facts import HEADERS, Append, Identified, Stored, Totals
from benchmarks.systems.contents import rows_in, stored_in
from benchmarks.systems.system import Handle, Place, Show, System, each_in_a_task
from examples.streaming.events import ContentWatched
from perdure import (
    ANY,
    AggregateRoot,
    Message,
    MessagePublisher,
    NewEvent,
    PostgreSQLEventStore,
    ProjectionService,
    Relay,
    Repository,
    RetryConfig,
    TableProjection,
    command,
    handles,
)
from perdure.integrations.nats import NatsPublisher
from perdure.testing import InMemoryPublisher

_PATIENCE = 600.0


class Title(AggregateRoot, category="content"):
    views: int = 0
    seconds: int = 0

    @command
    def watch(self, event: ContentWatched) -> None:
        self.raise_event(event)

    @handles
    def _watched(self, event: ContentWatched) -> None:
        self.views += 1
        self.seconds += event.watch_duration_seconds


class TitleRow(msgspec.Struct):
    content_id: str
    views: int = 0
    seconds: int = 0


def projection(name: str) -> TableProjection[TitleRow]:
    """Return the projection under a new name, so that each run builds its rows again."""

    class Views(TableProjection[TitleRow], table=name, key="content_id", version=1):
        @handles
        def watched(self, event: ContentWatched, row: TitleRow | None) -> TitleRow:
            row = row or TitleRow(event.content_id)
            row.views += 1
            row.seconds += event.watch_duration_seconds
            return row

    return Views()


class Perdure(System):
    name = "perdure"
    title = "Perdure"
    workloads = frozenset(
        {"W1", "W1r", "W2", "W2b", "W3", "W4", "W5", "W6", "W6b", "W6c", "W7", "W7b", "W8", "W9", "W10", "W11r"}
    )
    table = "perdure.events"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.store = PostgreSQLEventStore(place.url)
        self._titles = self.repository_of(self.store)
        self._with_snapshots = Repository(Title, self.store, snapshot_every=50)
        self._cached = Repository(Title, self.store, cache_size=10)

    @staticmethod
    def repository_of(store: PostgreSQLEventStore) -> Repository[Title]:
        """Return the repository that runs commands: with default settings."""
        return Repository(Title, store)

    async def open(self) -> None:
        await self.store.open()

    async def close(self) -> None:
        await self.store.close()

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._append)

    async def _append(self, wanted: Append) -> None:
        await self.store.append_to_stream(*wanted)

    async def append_with_headers(self, callers: Sequence[Iterator[Append]]) -> None:
        """Write what callers want written, each event with its headers."""
        await each_in_a_task(callers, self._append_with_headers)

    async def _append_with_headers(self, wanted: Append) -> None:
        events = [NewEvent(event, headers=HEADERS) for event in wanted.events]
        await self.store.append_to_stream(wanted.stream_id, wanted.expected_version, events)

    async def append_identified(self, callers: Sequence[Iterator[Identified]]) -> None:
        """Write what callers want written, under the ids that they chose: a repeat writes nothing."""
        await each_in_a_task(callers, self._append_identified)

    async def _append_identified(self, wanted: Identified) -> None:
        [event] = wanted.append.events
        await self.store.append_to_stream(wanted.append.stream_id, ANY, [NewEvent(event, event_id=wanted.event_id)])

    async def contents(self) -> Iterable[Stored]:
        return await stored_in(self.place.url, self.table)

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:
        titles = self._with_snapshots if snapshot else self._titles
        title = await titles.get(stream_id.partition("-")[2])
        return Totals(title.views, title.seconds)

    async def load_cached(self, stream_id: str) -> Totals:
        """Load an aggregate that the repository caches from its second load on."""
        title = await self._cached.get(stream_id.partition("-")[2])
        return Totals(title.views, title.seconds)

    async def take_snapshot(self, stream_id: str, event: ContentWatched) -> None:
        """Let a snapshot be taken, as the next command does when one is due."""
        await self._with_snapshots.execute(stream_id.partition("-")[2], lambda title: title.watch(event))

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        views = seconds = 0
        async for stored in self.store.subscribe(after):
            views += 1
            seconds += stored.event.watch_duration_seconds
            if views == count:
                break
        return Totals(views, seconds)

    async def project(self, name: str, count: int) -> None:  # noqa: ARG002 - all there is: that many
        last = await self._last_position()
        async with ProjectionService(self.store, [projection(name)]) as service:
            await service.wait_for(name, last, timeout=_PATIENCE)

    async def messages(self, destination: str) -> list[Message]:
        """Return what a relay sends of the whole log."""
        publisher = InMemoryPublisher()
        await self._relay("messages", publisher, destination)
        return publisher.messages

    async def relay(self, name: str, client: Client, destination: str) -> None:
        """Send the whole log to NATS."""
        await self._relay(name, NatsPublisher(client), destination)

    async def _relay(self, name: str, publisher: MessagePublisher, destination: str) -> None:
        relay = Relay(name, publisher, destination=destination, source="/benchmarks", start=0)
        last = await self._last_position()
        async with ProjectionService(self.store, [relay]) as service:
            await service.wait_for(name, last, timeout=_PATIENCE)

    async def _last_position(self) -> int:
        return sum([stored.global_position for stored in await self.store.read_all_events_backwards(max_count=1)])

    async def rows(self, name: str) -> dict[str, Totals]:
        return await rows_in(self.place.url, name)

    def follow(self, handle: Handle) -> AbstractAsyncContextManager[None]:
        return self._followed(handle)

    def follow_in_vain(self) -> AbstractAsyncContextManager[None]:
        return self._followed(lambda _: None, category="nothing")

    @asynccontextmanager
    async def _followed(self, handle: Handle, category: str | None = None) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._follow(await self._last_position(), handle, category))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, position: int, handle: Handle, category: str | None) -> None:
        async for stored in self.store.subscribe(position, category=category):
            handle(stored.event)

    @asynccontextmanager
    async def shown(self, name: str) -> AsyncGenerator[Show]:
        last = await self._last_position()
        async with ProjectionService(self.store, [projection(name)]) as service:
            await service.wait_for(name, last, timeout=_PATIENCE)

            async def show(wanted: Append) -> None:
                [event] = wanted.events
                saved = await self._titles.execute(event.content_id, lambda title: title.watch(event))
                await service.wait_for(name, saved)

            yield show

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._change)

    async def _change(self, wanted: Append) -> None:
        [event] = wanted.events
        await self._titles.execute(wanted.stream_id.partition("-")[2], lambda title: title.watch(event))


class PerdureWithoutTurns(Perdure):
    """Commands on one aggregate meet in conflicts: nothing queues them."""

    name = "perdure, no queue"
    title = "Perdure, commands without a queue"
    workloads = frozenset({"W7"})

    @staticmethod
    def repository_of(store: PostgreSQLEventStore) -> Repository[Title]:
        retry = RetryConfig(base_delay=0.002, max_seconds=_PATIENCE)
        return Repository(Title, store, retry=retry, queue_commands=False)

"""The bare driver, on the same table with the same indexes: what there is to be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from benchmarks.facts import EVENT_TYPE, HEADERS, Append, Stored, Totals
from benchmarks.systems.contents import SQL, rows_in, stored_in
from benchmarks.systems.system import Handle, Place, Show, System, each_in_a_task
from examples.streaming.events import ContentWatched
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.store import PostgreSQLEventStore

CONNECTIONS = 16
"""As many as two cores can use: more make it slower."""
PAGE = 500
_NO_HEADERS: Mapping[str, str] = {}
_Take = Callable[[Sequence[asyncpg.Record]], Awaitable[None]]
"""What a follower does with a page."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ContentWatched).decode


class _Metadata(msgspec.Struct, omit_defaults=True):
    timestamp: datetime
    headers: Mapping[str, str] = {}


class Hydrated(msgspec.Struct):
    """An event as it is read, by hand."""

    stream_id: str
    stream_version: int
    global_position: int
    event_id: UUID
    event_type: str
    event_version: int
    event: ContentWatched
    metadata: str
    recorded_at: datetime


class Raw(System):
    name = "raw"
    title = "asyncpg, an INSERT and commit each"
    workloads = frozenset({"W1", "W2", "W2b", "W3", "W4", "W5", "W7", "W8"})
    table = "raw.events"
    append_statement: ClassVar[str] = "append_event"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._sql = Statements(SQL / "raw")
        self._free: asyncio.LifoQueue[asyncpg.Connection[Any]] = asyncio.LifoQueue()
        self._all: list[asyncpg.Connection[Any]] = []

    @classmethod
    def version(cls) -> str:
        return f"asyncpg {asyncpg.__version__}"

    async def open(self) -> None:
        async with PostgreSQLEventStore(self.place.url):
            pass  # creates the table to copy
        self._all = [await asyncpg.connect(self.place.url) for _ in range(CONNECTIONS)]
        for statement in ("create_schema", "create_events", "create_checkpoints"):
            await self._all[0].execute(self._sql[statement])
        for connection in self._all:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        for connection in self._all:
            await connection.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._append)

    async def _append(self, wanted: Append) -> None:
        async with self._connection() as connection:
            if len(wanted.events) == 1:
                [row] = _rows([wanted])
                await connection.execute(self._sql[self.append_statement], *row)
            else:
                await self._append_all(connection, [wanted])

    async def append_with_headers(self, callers: Sequence[Iterator[Append]]) -> None:
        """Write what callers want written, each event with its headers."""
        await each_in_a_task(callers, self._append_with_headers)

    async def _append_with_headers(self, wanted: Append) -> None:
        async with self._connection() as connection:
            await self._append_all(connection, [wanted], HEADERS)

    async def _append_all(
        self,
        connection: asyncpg.Connection[Any],
        wanted: Sequence[Append],
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        columns = map(list, zip(*_rows(wanted, headers), strict=True))
        await connection.execute(self._sql["append_events"], *columns)

    async def contents(self) -> Iterable[Stored]:
        return await stored_in(self.place.url, self.table)

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:  # noqa: ARG002 - it has none
        async with self._connection() as connection:
            return (await self._load(connection, stream_id))[0]

    async def _load(self, connection: asyncpg.Connection[Any], stream_id: str) -> tuple[Totals, int]:
        title, stream_version = _Title(), 0
        for row in await connection.fetch(self._sql["read_stream"], stream_id):
            stored = _hydrated(row)
            title.handlers[stored.event_type](stored.event)
            stream_version = stored.stream_version
        return Totals(title.views, title.seconds), stream_version

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        views, seconds, position = 0, 0, after
        async with self._connection() as connection:
            while views < count:
                for row in await connection.fetch(self._sql["read_log"], position, PAGE):
                    stored = _hydrated(row)
                    views += 1
                    seconds += stored.event.watch_duration_seconds
                    position = stored.global_position
        return Totals(views, seconds)

    async def project(self, name: str, count: int) -> None:
        sql = Statements(SQL / "raw", table=f"raw.{name}")
        position = done = 0
        async with self._connection() as connection:
            await connection.execute(sql["create_rows"])
            while done < count:
                page = [_hydrated(row) for row in await connection.fetch(sql["read_log"], position, PAGE)]
                views = [(stored.event.content_id, stored.event.watch_duration_seconds) for stored in page]
                position = page[-1].global_position
                async with connection.transaction():
                    await connection.executemany(sql["add_view"], views)
                    await connection.execute(sql["set_checkpoint"], name, position)
                done += len(page)

    async def rows(self, name: str) -> dict[str, Totals]:
        return await rows_in(self.place.url, f"raw.{name}")

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._change)

    async def _change(self, wanted: Append) -> None:
        async with self._connection() as connection:
            while True:
                _, stream_version = await self._load(connection, wanted.stream_id)
                [row] = _rows([wanted._replace(expected_version=stream_version)])
                try:
                    await connection.execute(self._sql["append_event"], *row)
                except asyncpg.UniqueViolationError:
                    continue
                return


class RawUnnest(Raw):
    """As if 500 events had been collected from callers at no cost."""

    name = "raw unnest"
    title = "asyncpg, unnest INSERT of 500 on one connection"
    workloads = frozenset({"W1", "W2"})

    def callers(self, asked: int, events_per_append: int) -> int:  # noqa: ARG002 - it is always the same
        return 500 // events_per_append

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        async with self._connection() as connection:
            while wanted := [one for caller in callers if (one := next(caller, None))]:
                await self._append_all(connection, wanted)


class _Followed(Raw):
    """LISTEN, and a fetch of what came since: all that following can cost, were it safe."""

    @asynccontextmanager
    async def follow(self, handle: Handle) -> AsyncGenerator[None]:
        async with self._connection() as connection:
            position = await connection.fetchval(self._sql["last_position"])

        async def take(page: Sequence[asyncpg.Record]) -> None:
            for row in page:
                handle(_decode(row["event_data"]))

        async with self._listening(position, take):
            yield

    @asynccontextmanager
    async def _listening(self, position: int, take: _Take) -> AsyncGenerator[None]:
        connection = await asyncpg.connect(self.place.url)
        rung = asyncio.Event()
        await connection.add_listener("raw_events", lambda *_: rung.set())
        task = asyncio.create_task(self._follow(connection, position, rung, take))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            connection.terminate()

    async def _follow(
        self, connection: asyncpg.Connection[Any], position: int, rung: asyncio.Event, take: _Take
    ) -> None:
        while True:
            await rung.wait()
            rung.clear()
            while page := await connection.fetch(self._sql["read_log"], position, PAGE):
                await take(page)
                position = page[-1]["global_position"]


class RawNotify(_Followed):
    """LISTEN, and NOTIFY in each append."""

    name = "raw notify"
    title = "asyncpg, LISTEN/NOTIFY and a fetch"
    workloads = frozenset({"W6", "W6b", "W6c"})
    append_statement = "append_event_and_notify"

    @asynccontextmanager
    async def shown(self, name: str) -> AsyncGenerator[Show]:
        """Read models as they are kept by hand: a row and a checkpoint in one transaction for each page."""
        sql = Statements(SQL / "raw", table=f"raw.{name}")
        waiting: dict[str, asyncio.Future[None]] = {}
        async with self._connection() as connection:
            await connection.execute(sql["create_rows"])
            position = await connection.fetchval(sql["last_position"])

            async def project(page: Sequence[asyncpg.Record]) -> None:
                events = [_decode(row["event_data"]) for row in page]
                views = [(event.content_id, event.watch_duration_seconds) for event in events]
                async with connection.transaction():
                    await connection.executemany(sql["add_view"], views)
                    await connection.execute(sql["set_checkpoint"], name, page[-1]["global_position"])
                for event in events:
                    waiting.pop(event.content_id).set_result(None)

            async def show(wanted: Append) -> None:
                is_shown = waiting[wanted.events[0].content_id] = asyncio.get_running_loop().create_future()
                await self._append(wanted)
                await is_shown

            async with self._listening(position, project):
                yield show


class RawInsert(Raw):
    """The append alone: what there is to wait for at least."""

    name = "raw insert"
    title = "asyncpg, an INSERT and commit, without a read model"
    workloads = frozenset({"W6c"})
    shows_rows = False

    @asynccontextmanager
    async def shown(self, name: str) -> AsyncGenerator[Show]:  # noqa: ARG002 - it has no rows
        yield self._append


class RawUnnestNotify(_Followed, RawUnnest):
    """LISTEN, and a NOTIFY after each 500 events."""

    name = "raw unnest notify"
    title = "asyncpg, unnest INSERT of 500, a NOTIFY and a fetch"
    workloads = frozenset({"W6b"})

    async def _append_all(
        self,
        connection: asyncpg.Connection[Any],
        wanted: Sequence[Append],
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        await super()._append_all(connection, wanted, headers)
        await connection.execute(self._sql["notify"])


class _Title:
    """An aggregate, by hand."""

    __slots__ = ("handlers", "seconds", "views")

    def __init__(self) -> None:
        self.views = 0
        self.seconds = 0
        self.handlers = {EVENT_TYPE: self._watched}

    def _watched(self, event: ContentWatched) -> None:
        self.views += 1
        self.seconds += event.watch_duration_seconds


def _hydrated(row: asyncpg.Record) -> Hydrated:
    stream_id, stream_version, position, event_id, event_type, event_version, data, metadata, recorded_at = row
    return Hydrated(
        stream_id, stream_version, position, event_id, event_type, event_version, _decode(data), metadata, recorded_at
    )


def _rows(appends: Iterable[Append], headers: Mapping[str, str] = _NO_HEADERS) -> list[tuple[object, ...]]:
    """What is stored of each event."""
    return [
        (
            stream_id,
            expected_version + number,
            uuid7(),
            EVENT_TYPE,
            _encode(event).decode(),
            _encode(_Metadata(datetime.now(UTC), headers)).decode(),
        )
        for stream_id, expected_version, events in appends
        for number, event in enumerate(events, 1)
    ]

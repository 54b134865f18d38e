"""The store of the tutorials: SELECT the version, INSERT each event, upsert the stream's row, in a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from benchmarks.facts import EVENT_TYPE, Append, Stored, Totals
from benchmarks.systems.contents import SQL, rows_in, stored_in
from benchmarks.systems.raw import CONNECTIONS, PAGE
from benchmarks.systems.system import Handle, Place, System, each_in_a_task
from examples.streaming.events import ContentWatched
from perdure.stores.postgres.sql_files import Statements

_PAUSE = 0.1
"""Seconds between two looks at the log."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ContentWatched).decode


class ConflictError(Exception):
    """The stream has another version."""


class Tutorial(System):
    name = "tutorial"
    title = "the store of the tutorials, on asyncpg"
    workloads = frozenset({"W1", "W2", "W3", "W4", "W5", "W6", "W7"})
    log_limit = 2_000

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._sql = Statements(SQL / "tutorial")
        self._pool: asyncpg.Pool[Any]

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self.place.url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        for statement in ("create_streams", "create_events", "create_checkpoints"):
            await self._pool.execute(self._sql[statement])

    async def close(self) -> None:
        await self._pool.close()

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._append)

    async def _append(self, wanted: Append) -> None:
        stream_id, expected_version, events = wanted
        async with self._pool.acquire() as connection, connection.transaction():
            stream_version = await connection.fetchval(self._sql["stream_version"], stream_id) or 0
            if stream_version != expected_version:
                raise ConflictError
            for event in events:
                stream_version += 1
                metadata = _encode({"timestamp": datetime.now(UTC)}).decode()
                data = _encode(event).decode()
                event_id = uuid4()
                await connection.execute(
                    self._sql["append_event"], stream_id, stream_version, event_id, EVENT_TYPE, data, metadata
                )
            await connection.execute(self._sql["set_stream_version"], stream_id, stream_version)

    async def contents(self) -> Iterable[Stored]:
        return await stored_in(self.place.url, "events", version="version", data="data")

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:  # noqa: ARG002 - it has none
        return (await self._load(stream_id))[0]

    async def _load(self, stream_id: str) -> tuple[Totals, int]:
        rows = await self._pool.fetch(self._sql["read_stream"], stream_id)
        found = Totals()
        for row in rows:
            found = found.and_of(_decode(row["data"]))
        return found, rows[-1]["version"] if rows else 0

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        views, seconds, position = 0, 0, after
        while views < count:
            for row in await self._pool.fetch(self._sql["read_log"], position, PAGE):
                views += 1
                seconds += _decode(row["data"]).watch_duration_seconds
                position = row["id"]
        return Totals(views, seconds)

    async def project(self, name: str, count: int) -> None:
        sql = Statements(SQL / "tutorial", table=name)
        position = done = 0
        await self._pool.execute(sql["create_rows"])
        while done < count:
            for row in await self._pool.fetch(sql["read_log"], position, PAGE):
                event, position = _decode(row["data"]), row["id"]
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(sql["add_view"], event.content_id, event.watch_duration_seconds)
                    await connection.execute(sql["set_checkpoint"], name, position)
                done += 1

    async def rows(self, name: str) -> dict[str, Totals]:
        return await rows_in(self.place.url, name)

    @asynccontextmanager
    async def follow(self, handle: Handle) -> AsyncGenerator[None]:
        position = await self._pool.fetchval(self._sql["last_position"])
        task = asyncio.create_task(self._follow(position, handle))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, position: int, handle: Handle) -> None:
        while True:
            for row in await self._pool.fetch(self._sql["read_log"], position, PAGE):
                handle(_decode(row["data"]))
                position = row["id"]
            await asyncio.sleep(_PAUSE)

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        await each_in_a_task(callers, self._change)

    async def _change(self, wanted: Append) -> None:
        while True:
            _, stream_version = await self._load(wanted.stream_id)
            try:
                await self._append(wanted._replace(expected_version=stream_version))
            except (ConflictError, asyncpg.UniqueViolationError):
                continue
            return

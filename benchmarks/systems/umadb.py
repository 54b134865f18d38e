"""UmaDB: a server of its own, and its Python client. A stream is a tag."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from umadb import AppendCondition, CancelledByUserError, Client, Event, IntegrityError, Query, QueryItem, TransportError

from benchmarks.facts import EVENT_TYPE, Append, Stored, Totals
from benchmarks.server import ON_DISK, Server
from benchmarks.systems.system import Handle, Place, System, each_in_a_thread
from examples.streaming.events import ContentWatched

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ContentWatched).decode


class Peer(System):
    name = "umadb"
    title = "UmaDB, its own server"
    workloads = frozenset({"W1", "W2", "W3", "W4", "W6", "W7"})

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._client: Any = None
        self._positions: dict[str, int | None] = {}
        """The last event of each stream, which an appender knows from reading."""

    @classmethod
    def version(cls) -> str:
        return version("umadb")

    @classmethod
    @asynccontextmanager
    async def new_place(cls, server: Server) -> AsyncGenerator[Place]:  # noqa: ARG003 - it has its own
        parent = ON_DISK if os.access(ON_DISK, os.W_OK) else None
        address = f"127.0.0.1:{_free_port()}"
        with TemporaryDirectory(prefix="perdure-bench-umadb-", dir=parent) as folder:
            program = Path(sys.executable).with_name("umadb")
            arguments = ("--listen", address, "--db-path", str(Path(folder, "uma.db")))
            process = await asyncio.create_subprocess_exec(
                program, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                await _wait_for(f"http://{address}")
                yield Place(f"http://{address}", process.pid)
            finally:
                process.terminate()
                await process.wait()

    async def open(self) -> None:
        self._client = Client(self.place.url)

    async def close(self) -> None:
        self._client.close()

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        await asyncio.to_thread(each_in_a_thread, callers, self._append)

    def _append(self, wanted: Append) -> None:
        stream_id, expected_version, events = wanted
        after = self._positions[stream_id] if expected_version else None
        self._positions[stream_id] = self._append_after(stream_id, after, events)

    def _append_after(self, stream_id: str, after: int | None, events: Sequence[ContentWatched]) -> int:
        timestamp = datetime.now(UTC).isoformat()
        written: int = self._client.append(
            [Event(EVENT_TYPE, _encode(event), [stream_id], None, {"timestamp": timestamp}) for event in events],
            AppendCondition(_of(stream_id), after),
        )
        return written

    async def contents(self) -> Iterable[Stored]:
        versions: Counter[str] = Counter()
        stored: list[Stored] = []
        for one in self._client.read():
            [stream_id] = one.event.tags
            versions[stream_id] += 1
            stored.append(Stored(stream_id, versions[stream_id], _decode(one.event.data)))
        return sorted(stored, key=lambda one: (one.stream_id, one.stream_version))

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:  # noqa: ARG002 - it has none
        return (await asyncio.to_thread(self._load, stream_id))[0]

    def _load(self, stream_id: str) -> tuple[Totals, int | None]:
        views = seconds = 0
        position: int | None = None
        for one in self._client.read(_of(stream_id)):
            views += 1
            seconds += _decode(one.event.data).watch_duration_seconds
            position = one.position
        return Totals(views, seconds), position

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        return await asyncio.to_thread(self._catch_up, count, after)

    def _catch_up(self, count: int, after: int) -> Totals:
        views = seconds = 0
        for one in self._client.read(start=after + 1, limit=count):
            views += 1
            seconds += _decode(one.event.data).watch_duration_seconds
        return Totals(views, seconds)

    @asynccontextmanager
    async def follow(self, handle: Handle) -> AsyncGenerator[None]:
        subscription = self._client.subscribe(after=self._client.head())
        thread = threading.Thread(target=_follow, args=(subscription, handle))
        thread.start()
        try:
            yield
        finally:
            subscription.cancel()
            await asyncio.to_thread(thread.join)

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        await asyncio.to_thread(each_in_a_thread, callers, self._change)

    def _change(self, wanted: Append) -> None:
        while True:
            _, position = self._load(wanted.stream_id)
            with suppress(IntegrityError):
                self._append_after(wanted.stream_id, position, wanted.events)
                return


def _of(stream_id: str) -> Any:
    return Query([QueryItem(tags=[stream_id])])


def _follow(subscription: Iterable[Any], handle: Handle) -> None:
    with suppress(CancelledByUserError):
        for one in subscription:
            handle(_decode(one.event.data))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def _wait_for(url: str) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            Client(url).head()
        except TransportError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.02)
        else:
            return

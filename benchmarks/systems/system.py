"""What a system under test can do. An adapter does it as that system's own documentation would."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from benchmarks.facts import Append, Stored, Totals
from benchmarks.server import Server
from examples.streaming.events import ContentWatched

Handle = Callable[[ContentWatched], None]
Show = Callable[[Append], Awaitable[None]]
W = TypeVar("W")


class Place(NamedTuple):
    """Where a system keeps its events."""

    url: str
    server_pid: int
    """The process whose time counts as the server's."""


class System(ABC):
    """A system that is open on a place of its own.

    Everything that is timed is here. Systems that are asynchronous implement it with coroutines; others are
    `ThreadedSystem`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """What is measured, in a few words, for the legend."""
    workloads: ClassVar[frozenset[str]]
    log_limit: ClassVar[int | None] = None
    """How many events it is given to project at most, when it would take too long; its rate counts all the same."""

    shows_rows: ClassVar[bool] = True
    """Whether a command of `shown` leaves a row; otherwise it is a bare append, for comparison."""
    table: ClassVar[str] = ""
    """The table of its events, for those that are filled by SQL."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @classmethod
    @asynccontextmanager
    async def new_place(cls, server: Server) -> AsyncGenerator[Place]:
        """A place for it with nothing in it, gone afterwards."""
        async with server.database() as url:
            yield Place(url, server.pid)

    @classmethod
    def version(cls) -> str:
        """Which version of it this is."""
        return ""

    @abstractmethod
    async def open(self) -> None:
        """Make it ready: schema, connections."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def callers(self, asked: int, events_per_append: int) -> int:  # noqa: ARG002 - for those that need it
        """How many callers it is given, when that many are asked for."""
        return asked

    @abstractmethod
    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        """Write what callers want written, each one after the other, all at once. None was refused."""

    async def append_with_headers(self, callers: Sequence[Iterator[Append]]) -> None:
        """Do what `append` does, with `HEADERS` in the metadata of each event."""
        raise NotImplementedError

    @abstractmethod
    async def contents(self) -> Iterable[Stored]:
        """All that was written, for verification. The events of a stream in order."""

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:
        """Make an aggregate from its events, with handlers, or from a snapshot."""
        raise NotImplementedError

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        """Read that many events of the whole log, typed: from its beginning, or after a position."""
        raise NotImplementedError

    async def project(self, name: str, count: int) -> None:
        """Keep a row for each title from the first event of the log up to that many, each exactly once."""
        raise NotImplementedError

    async def rows(self, name: str) -> dict[str, Totals]:
        """What `project` made, for verification."""
        raise NotImplementedError

    def follow(self, handle: Handle) -> AbstractAsyncContextManager[None]:
        """Hand over each event that is appended from now on."""
        raise NotImplementedError

    def follow_in_vain(self) -> AbstractAsyncContextManager[None]:
        """Wait for events of a kind that is never appended."""
        raise NotImplementedError

    def shown(self, name: str) -> AbstractAsyncContextManager[Show]:
        """Keep a row for each title that is new from now on, and run commands that wait until their row is there."""
        raise NotImplementedError

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        """Read a stream, append to it, and try again after a conflict."""
        raise NotImplementedError


async def each_in_a_task(callers: Sequence[Iterator[W]], act: Callable[[W], Awaitable[Any]]) -> None:
    """Let all callers do what they want, each in a task."""

    async def run(caller: Iterator[W]) -> None:
        for wanted in caller:
            await act(wanted)

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(run(caller))


def each_in_a_thread(callers: Sequence[Iterator[Append]], act: Callable[[Append], None]) -> None:
    """Let all callers do what they want, each in a thread."""
    errors: list[BaseException] = []

    def run(caller: Iterator[Append]) -> None:
        try:
            for wanted in caller:
                act(wanted)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]

"""Subscriptions: the log, followed as it grows."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Protocol, Self, TypeVar
from uuid import UUID

from perdure.checks import LARGEST_COUNT, check_count, check_seconds
from perdure.errors import PerdureError, WrongContextError
from perdure.events import StoredEvent
from perdure.head import Head
from perdure.log import PAGE_SIZE, ChangeSignal, Log, LogFilter, LogPosition, Page, PageSize, SeenEvent, Start
from perdure.tasks import Tasks

T = TypeVar("T")


class EndedLog(Log, Protocol):
    """A log whose end can be found."""

    async def log_page_backwards(self, before_position: int, limit: int, where: LogFilter) -> list[StoredEvent]:
        """Return the events of the log strictly before `before_position`, newest first: never beyond an open gap."""
        ...


class FollowedLog(EndedLog, Protocol):
    """What a subscription needs of a store."""

    @property
    def changes(self) -> ChangeSignal:
        """Announces appends."""
        ...

    @property
    def head(self) -> Head:
        """Where followers that have read everything wait."""
        ...

    @property
    def tasks(self) -> Tasks:
        """The background tasks of the store."""
        ...


class _Prefetch:
    """A page that is read before it is asked for. Whatever goes wrong, the page is then read again."""

    def __init__(self, log: FollowedLog, place: LogPosition, limit: int, where: LogFilter) -> None:
        self.page: Page | None = None
        """None until it is read."""
        self._log = log
        self._arguments = (place.position, limit, where, place.seen)
        self.task = log.tasks.start(self._read, "perdure subscription, reading ahead")

    async def _read(self) -> None:
        with suppress(PerdureError):  # it will be raised when the page is asked for
            self.page = await self._log.log_page(*self._arguments)

    async def done(self) -> Page | None:
        """Wait for the end of the read. Returns None if it has failed."""
        if not self.task.done():
            await asyncio.wait((self.task,))
        return self.page


async def find_start(log: EndedLog, start: Start) -> LogPosition:
    """Return the position after which a reader begins. It skips no event that belongs to what `start` says.

    After a time, events follow that were recorded before it, if the times aren't in the order of the log.
    """
    if isinstance(start, int):
        return LogPosition(start, None)
    if isinstance(start, datetime):
        page = await log.log_page(0, 1, LogFilter(recorded_from=start))
        return LogPosition(page.events[0].global_position - 1 if page.events else page.position, page.seen)
    last = await log.log_page_backwards(LARGEST_COUNT, 1, LogFilter())
    if not last:
        return LogPosition(0, None)
    return LogPosition(last[0].global_position, _seen(last[0]))


class Subscription:
    """Follows the log: an async iterator over events, made by `EventStore.subscribe`.

    Attributes:
        page_size: How many events it reads at once.

    Example:
        checkpoint = 0
        subscription = store.subscribe(checkpoint)
        async for stored in subscription:
            await handle(stored)
            checkpoint = subscription.position  # with its `event_id`, a follower notices that the log is another one
    """

    _FIRST_PAUSE = 0.05
    _LONGEST_PAUSE = 5.0
    """Seconds between tries that fail."""
    _PAUSE_AT_HEAD = 0.01
    """Seconds after a read at the head that found nothing that matches. A busy log changes all the time, and each read
    costs appends time."""

    def __init__(self, log: FollowedLog, start: Start, event_id: UUID | None, where: LogFilter) -> None:
        self.page_size = PageSize()
        self._log = log
        self._where = where
        self._start = None if isinstance(start, int) else start
        """Where to begin, until that is found in the log."""
        self._recorded_from = start if isinstance(start, datetime) else None
        position = start if isinstance(start, int) else 0
        seen = None if event_id is None else SeenEvent(position, event_id)
        self._delivered, self._delivered_id = position, event_id
        """The position and id of the event that was delivered last. Two attributes, because an object for each
        event would cost half as much as decoding it."""
        self._read_up_to = LogPosition(position, seen)
        """Up to where pages were read, without the one that is read ahead."""
        self._ready: deque[StoredEvent] = deque()
        """Events that were read, and not delivered."""
        self._prefetch: _Prefetch | None = None
        self._has_matched = True
        """Whether the last page held any event."""
        self._is_waiting = False

    @property
    def position(self) -> int:
        """Where to subscribe again to lose and repeat nothing, once the event that was delivered last is handled.

        This is the position of that event. When all events that were read are delivered, it moves on over events that
        the filter left out. Store it after an event is handled, never before.

        Raises:
            WrongContextError: the subscription begins now or at a time, and hasn't begun; see `begin`.
        """
        if self._start is not None:
            raise WrongContextError("the subscription hasn't begun, so it has no position: await begin() before")
        return self._delivered if self._ready else self._read_up_to.position

    @property
    def event_id(self) -> UUID | None:
        """The id of the event at `position`, for `from_event_id`. None where no event was read yet."""
        return self._delivered_id if self._ready else self._read_up_to.event_id

    async def begin(self) -> int:
        """Find where the subscription begins, if it didn't begin yet, and return its `position`.

        What is appended after this returns is delivered. With `NOW`, a read of the log before this call returned what
        isn't delivered, and a read after it the same, as far as the position. A position needs no `begin`.

        Raises:
            StoreClosedError, ConfigurationError, SchemaError: the log can't be read any more.
            WrongContextError: another task waits for the next event.
        """
        with self._alone():
            await self._at_last(self._begin)
            return self.position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StoredEvent:
        while not self._ready:
            limit = self.page_size.limit
            page = await self.next_page(limit)
            self._ready.extend(page.events)
            if len(page.events) == limit:
                # While these are handled, the server finds the next ones.
                self.prefetch(self.page_size.limit)
                await asyncio.sleep(0)  # lets the task send its request: a handler may take long before it waits
        stored = self._ready.popleft()
        self._delivered, self._delivered_id = stored.global_position, stored.event_id
        return stored

    async def next_page(self, limit: int = PAGE_SIZE, patience: float | None = None) -> Page:
        """Return the next page as soon as there is one, which may hold no event that matches. Wait out what may pass.

        The events of the page count as delivered. It begins with events that were read but not iterated over yet.

        Args:
            limit: how many events at most.
            patience: after how many seconds to return an empty page instead. With it, what may pass is raised, too.

        Raises:
            InvalidArgumentError: `limit` isn't a number from 1 on, or `patience` isn't a number of seconds.
            LogDivergedError: the event last seen isn't in the log any more.
            StoreUnavailableError, StoreOverloadedError, DatabaseError: `patience` was given, and the log can't be read.
            StoreClosedError, ConfigurationError, SchemaError: the log can't be read any more.
            WrongContextError: another task waits for the next event, too.
        """
        with self._alone():
            check_count("limit", limit, 1)
            if patience is not None:
                check_seconds("patience", patience)
            if self._ready:
                return self._rest(limit)
            return await self._follow(limit, patience)

    def prefetch(self, limit: int = PAGE_SIZE) -> None:
        """Begin to read the page that `next_page` will be asked for, unless one is read ahead already.

        An error is raised by `next_page`, which then reads the page again.

        Args:
            limit: how many events at most. The page is used if `next_page` is asked for as many or more.
        """
        check_count("limit", limit, 1)
        if self._prefetch is None and self._start is None:
            self._prefetch = _Prefetch(self._log, self._read_up_to, limit, self._where)

    def drop_prefetch(self) -> asyncio.Task[None] | None:
        """Stop reading ahead. Returns the task that ends then, if there is one."""
        prefetch, self._prefetch = self._prefetch, None
        if prefetch is None:
            return None
        self._log.tasks.cancel(prefetch.task)
        return prefetch.task

    @contextmanager
    def _alone(self) -> Generator[None]:
        if self._is_waiting:
            raise WrongContextError("a subscription is followed by one task: make another for each")
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False
            self._log.head.outage.left(self)

    def _rest(self, limit: int) -> Page:
        """Deliver what was read already."""
        events = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._delivered, self._delivered_id = events[-1].global_position, events[-1].event_id
        return Page(events, self.position)

    async def _follow(self, limit: int, patience: float | None) -> Page:
        """Read, and wait at the head of the log, until there is something or the time is up."""
        now = asyncio.get_running_loop().time
        end = math.inf if patience is None else now() + patience
        if not self._has_matched:
            await asyncio.sleep(min(self._PAUSE_AT_HEAD, max(0.0, end - now())))
        while True:
            mark = self._log.changes.count
            page = await (self._read(limit) if patience is not None else self._at_last(partial(self._read, limit)))
            self._log.head.outage.succeeded(self, operation="follow", global_position=self._read_up_to.position)
            if page.position > self._read_up_to.position:
                self._move_to(page)
                return page
            if (remaining := end - now()) <= 0:
                return page
            await self._log.head.wait(self._read_up_to, held_back=page.held_back, mark=mark, timeout=remaining)

    async def _at_last(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read as often as it takes, while it fails by what may pass."""
        pause = self._FIRST_PAUSE
        while True:
            try:
                return await read()
            except PerdureError as error:
                if not error.is_transient:
                    raise
                position = self._read_up_to.position
                self._log.head.outage.failed(self, error, operation="follow", pause=pause, global_position=position)
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._LONGEST_PAUSE)

    async def _read(self, limit: int) -> Page:
        """Read what follows now; return what was read ahead if that fits."""
        await self._begin()
        place = self._read_up_to
        if self._prefetch is not None:
            page = await self._prefetch.done()
            self._prefetch = None
            if page is not None and place.position < page.position and len(page.events) <= limit:
                return self._since_start(page)
        # Each read verifies the event read last: another server than before may have answered, which holds less.
        return self._since_start(await self._log.log_page(place.position, limit, self._where, place.seen))

    async def _begin(self) -> None:
        if self._start is not None:
            self._read_up_to = await find_start(self._log, self._start)
            self._start = None

    def _since_start(self, page: Page) -> Page:
        """Return the page without what was recorded before the time at which the subscription begins."""
        start = self._recorded_from
        if start is None or not page.events:
            return page
        events = [stored for stored in page.events if stored.recorded_at >= start]
        return page._replace(events=events, seen=page.seen or _seen(page.events[-1]))

    def _move_to(self, page: Page) -> None:
        last = _seen(page.events[-1]) if page.events else self._read_up_to.seen
        self._read_up_to = LogPosition(page.position, page.seen or last)
        self.page_size.learn(page.events)
        self._has_matched = bool(page.events)


def _seen(stored: StoredEvent) -> SeenEvent:
    return SeenEvent(stored.global_position, stored.event_id)

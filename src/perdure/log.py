"""The log: the one global order of all events, read in pages and followed as it grows."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple, Protocol, Self, TypedDict, cast
from uuid import UUID

from perdure.checks import check_count, check_seconds, checked_id, checked_time
from perdure.errors import InvalidArgumentError, LogDivergedError, PerdureError, WrongContextError
from perdure.events import StoredEvent, check_category, registry
from perdure.outage import Outage

logger = logging.getLogger("perdure.log")

PAGE_SIZE: Final = 500


class LogFilter(NamedTuple):
    """Which events of the log to read; None means all."""

    category: str | None = None
    event_types: tuple[str, ...] | None = None
    correlation_id: str | None = None
    recorded_from: datetime | None = None
    recorded_before: datetime | None = None

    def matches(self, stored: StoredEvent) -> bool:
        """Whether it is one of these events."""
        return (
            (self.category is None or stored.stream_id.partition("-")[0] == self.category)
            and (self.event_types is None or stored.event_type in self.event_types)
            and (self.recorded_from is None or stored.recorded_at >= self.recorded_from)
            and (self.recorded_before is None or stored.recorded_at < self.recorded_before)
            and (self.correlation_id is None or stored.metadata.correlation_id == self.correlation_id)
        )


class Selection(TypedDict, total=False):
    """Which events of the log to read, as callers say it. See `EventStore.read_all_events`."""

    category: str | None
    event_types: Sequence[str | type] | None
    correlation_id: UUID | str | None
    recorded_from: datetime | None
    recorded_before: datetime | None


class Seen(NamedTuple):
    """An event that a reader has read, by which it knows the log again."""

    global_position: int
    event_id: UUID


class Page(NamedTuple):
    """A piece of the log, in order and without gap."""

    events: list[StoredEvent]
    position: int
    """Continue after this: the last event's position, or further on where nothing more can come before it."""
    held_back: bool = False
    """Whether events stand behind a gap that an append in flight may still fill."""
    seen: Seen | None = None
    """The event at `position`, where that isn't the last of `events`."""


class Changes:
    """Wakes those who follow the log in this process."""

    def __init__(self) -> None:
        self.count = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def announce(self) -> None:
        """Something was appended: wake everybody who waits."""
        self.count += 1
        for waiter in self._waiters:
            _wake(waiter)
        self._waiters.clear()

    async def wait(self, seen: int, timeout: float) -> None:
        """Return once `count` is beyond `seen`, or after `timeout` seconds."""
        if self.count != seen:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout, _wake, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class PageSize:
    """How many events to read at once: few at first, more as long as they are small, so that memory stays bounded.

    Args:
        most: how many at most.
    """

    _BYTES = 4 * 1024 * 1024

    def __init__(self, most: int = PAGE_SIZE) -> None:
        self._most = most
        self.limit = min(128, most)

    def learn(self, events: Sequence[StoredEvent]) -> None:
        """Fit the limit to the size of the events that were read."""
        if events:
            size = sum([len(stored.event_data) for stored in events]) / len(events)
            self.limit = max(1, min(self._most, self.limit * 4, int(self._BYTES / (size + 1))))


class Log(Protocol):
    """What a subscription needs of a store."""

    @property
    def changes(self) -> Changes:
        """Announced after each append."""
        ...

    async def log_page(self, from_position: int, limit: int, where: LogFilter, seen: Seen | None = None) -> Page:
        """A page of the log strictly after `from_position`: never beyond a gap that may still be filled.

        Raises:
            LogDivergedError: the event `seen` isn't at its position.
        """
        ...


class Subscription:
    """Follows the log: an async iterator over events, made by `EventStore.subscribe`.

    Attributes:
        page_size: How many events it reads at once.

    Example:
        checkpoint = 0
        subscription = store.subscribe(checkpoint)
        async for stored in subscription:
            await handle(stored)
            checkpoint = subscription.position
    """

    _WAITS_AT_HEAD = (0.001, 0.25)
    """Seconds from one look to the next, at first and at most. What is appended is announced, unless that gets lost.
    But whoever has just looked is quicker at it: by some 0.3 ms, where an event comes every 20 ms."""
    _WAITS_AT_GAP = (0.001, 0.02)
    """The same, where nobody announces that an append was rolled back."""
    _LONGEST_WAIT_FOR_DATABASE = 5.0
    _PAUSE_AT_HEAD = 0.01
    """After a look at the head that found nothing that matches. A busy log changes all the time, and each look costs
    those who append to it."""

    def __init__(self, log: Log, position: int, event_id: UUID | None, where: LogFilter) -> None:
        self.page_size = PageSize()
        self._log = log
        self._delivered = self._reached = position
        """The last event that was delivered; and up to where pages were read."""
        self._where = where
        self._seen = None if event_id is None else Seen(position, event_id)
        self._ready: deque[StoredEvent] = deque()
        self._is_waiting = False
        self._nothing_matched = False
        self._ahead: asyncio.Task[Page | None] | None = None
        """Reads the page after those that were read."""
        self._outage = Outage(logger, "following the log")

    @property
    def position(self) -> int:
        """Where to subscribe again to lose and repeat nothing, whenever and however often that is done.

        It is the position of the last event that was delivered. Once no event that was read waits for delivery, it may
        be further on, beyond events that the filter passed over. Store it after an event is handled, never before.
        """
        return self._delivered if self._ready else self._reached

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StoredEvent:
        while not self._ready:
            limit = self.page_size.limit
            page = await self.next_page(limit)
            self._ready.extend(page.events)
            if len(page.events) == limit:
                # While these are handled, the server finds the next ones.
                self._ahead = asyncio.create_task(self._look_ahead(), name="perdure subscription, reading ahead")
                await asyncio.sleep(0)  # lets the task send its request: who handles events may not wait for anything
        stored = self._ready.popleft()
        self._delivered = stored.global_position
        return stored

    async def next_page(self, limit: int = PAGE_SIZE, patience: float | None = None) -> Page:
        """The next page as soon as there is one, waiting out what may pass. It may hold no event that matches.

        Its events count as delivered. It begins with those that were read but not iterated over yet.

        Args:
            limit: how many events at most.
            patience: after how many seconds to return an empty page instead; then what may pass is an error, too.

        Raises:
            InvalidArgumentError: `limit` is no number from 1 on, or `patience` no number of seconds.
            LogDivergedError: the event last seen isn't in the log any more.
            StoreUnavailableError, StoreOverloadedError, DatabaseError: `patience` was given, and the log can't be read.
            StoreClosedError, ConfigurationError, SchemaError: the log can't be read any more.
            WrongContextError: another task waits for the next event, too.
        """
        if self._is_waiting:
            raise WrongContextError("a subscription is followed by one task: make another for each")
        check_count("limit", limit, 1)
        if patience is not None:
            check_seconds("patience", patience)
        if self._ready:
            return self._rest(limit)
        self._is_waiting = True
        try:
            return await self._next_page(limit, patience)
        finally:
            self._is_waiting = False
            self._outage.left(self)

    def _rest(self, limit: int) -> Page:
        """What was read already and waits."""
        events = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._delivered = events[-1].global_position
        return Page(events, self.position)

    async def _next_page(self, limit: int, patience: float | None) -> Page:
        now = asyncio.get_running_loop().time
        end = math.inf if patience is None else now() + patience
        wait = 0.0
        if self._nothing_matched:
            await asyncio.sleep(min(self._PAUSE_AT_HEAD, max(0.0, end - now())))
        while True:
            seen = self._log.changes.count
            try:
                page = await self._look(limit)
            except PerdureError as error:
                if patience is not None or not error.is_transient:
                    raise
                wait = min(max(wait * 2, 0.05), self._LONGEST_WAIT_FOR_DATABASE)
                self._outage.failed(self, error, operation="follow", pause=wait, global_position=self._reached)
                await asyncio.sleep(wait)
                continue
            self._outage.succeeded(self, operation="follow", global_position=self._reached)
            if page.position > self._reached:
                self._move_to(page)
                return page
            if (remaining := end - now()) <= 0:
                return page
            shortest, longest = self._WAITS_AT_GAP if page.held_back else self._WAITS_AT_HEAD
            wait = min(max(wait, shortest), longest)
            await self._log.changes.wait(seen, min(wait, remaining))
            wait = 0.0 if self._log.changes.count != seen else wait * 2

    async def _look(self, limit: int) -> Page:
        """What follows now; what was read ahead, if that is there."""
        ahead, self._ahead = self._ahead, None
        page = None if ahead is None else await ahead
        if page is not None and self._reached < page.position and len(page.events) <= limit:
            return page
        return await self._read(limit)

    async def _look_ahead(self) -> Page | None:
        with suppress(PerdureError):  # whatever is wrong will be so when the page is asked for
            return await self._read(self.page_size.limit)
        return None

    async def _read(self, limit: int) -> Page:
        # Each page sees that the log is known: the server may be another one than before, which holds less.
        return await self._log.log_page(self._reached, limit, self._where, self._seen)

    def _move_to(self, page: Page) -> None:
        self._reached = page.position
        self.page_size.learn(page.events)
        self._nothing_matched = not page.events
        if page.events:
            self._seen = Seen(page.events[-1].global_position, page.events[-1].event_id)
        self._seen = page.seen or self._seen


async def verify_position(log: Log, name: str, position: int, event_id: UUID) -> None:
    """Raise LogDivergedError unless that event stands at that position. `name` says who had read up to it."""
    try:
        await log.log_page(position, 1, LogFilter(), Seen(position, event_id))
    except LogDivergedError as error:
        raise LogDivergedError(name, position, event_id, error.found) from None


def make_filter(
    category: str | None = None,
    event_types: Sequence[str | type] | None = None,
    correlation_id: UUID | str | None = None,
    recorded_from: datetime | None = None,
    recorded_before: datetime | None = None,
) -> LogFilter:
    """The filter that the public arguments describe."""
    if category is not None:
        check_category(category)
    return LogFilter(
        category,
        None if event_types is None else _checked_types(event_types),
        None if correlation_id is None else checked_id("correlation_id", correlation_id),
        None if recorded_from is None else checked_time("recorded_from", recorded_from),
        None if recorded_before is None else checked_time("recorded_before", recorded_before),
    )


def _checked_types(event_types: Sequence[str | type]) -> tuple[str, ...]:
    if isinstance(event_types, str | bytes) or not isinstance(event_types, Collection) or not event_types:
        raise InvalidArgumentError("event_types", "must be a list of at least one stored name or event class")
    return tuple(sorted({name for one in event_types for name in _stored_names(one)}))


def _stored_names(event_type: object) -> tuple[str, ...]:
    if isinstance(event_type, type):
        return registry.by_class(event_type).names
    checked_id("event_types", cast("str", event_type))
    return (cast("str", event_type),)

"""Subscriptions: the log, followed as it grows."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from typing import Protocol, Self
from uuid import UUID

from perdure.checks import check_count, check_seconds
from perdure.errors import PerdureError, WrongContextError
from perdure.events import StoredEvent
from perdure.head import Head, Place
from perdure.log import PAGE_SIZE, ChangeSignal, Log, LogFilter, Page, PageSize, SeenEvent


class Followed(Log, Protocol):
    """What a subscription needs of a store."""

    @property
    def changes(self) -> ChangeSignal:
        """Announces appends."""
        ...

    @property
    def head(self) -> Head:
        """Where followers wait that have read everything."""
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
            checkpoint = subscription.position  # with its `event_id`, a follower notices that the log is another one
    """

    _LONGEST_PAUSE = 5.0
    """Seconds between tries that fail."""
    _PAUSE_AT_HEAD = 0.01
    """After a look at the head that found nothing that matches. A busy log changes all the time, and each look costs
    those who append to it."""

    def __init__(self, log: Followed, position: int, event_id: UUID | None, where: LogFilter) -> None:
        self.page_size = PageSize()
        self._log = log
        self._delivered = self._reached = position
        """The last event that was delivered; and up to where pages were read."""
        self._delivered_id = event_id
        self._where = where
        self._seen = None if event_id is None else SeenEvent(position, event_id)
        self._ready: deque[StoredEvent] = deque()
        self._is_waiting = False
        self._nothing_matched = False
        self._ahead: asyncio.Task[Page | None] | None = None
        """Reads the page after those that were read."""

    @property
    def position(self) -> int:
        """Where to subscribe again to lose and repeat nothing, once the event that was delivered last is handled.

        It is the position of that event. When all events that were read are delivered, it moves on over events that the
        filter left out. Store it after an event is handled, never before.
        """
        return self._delivered if self._ready else self._reached

    @property
    def event_id(self) -> UUID | None:
        """The id of the event at `position`, for `from_event_id`. None where no event was read yet."""
        if self._ready:
            return self._delivered_id
        seen = self._seen
        return None if seen is None or seen.global_position != self._reached else seen.event_id

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
        self._delivered, self._delivered_id = stored.global_position, stored.event_id
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
            self._log.head.outage.left(self)

    def _rest(self, limit: int) -> Page:
        """What was read already and waits."""
        events = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._delivered, self._delivered_id = events[-1].global_position, events[-1].event_id
        return Page(events, self.position)

    async def _next_page(self, limit: int, patience: float | None) -> Page:
        now = asyncio.get_running_loop().time
        end = math.inf if patience is None else now() + patience
        pause = 0.0
        if self._nothing_matched:
            await asyncio.sleep(min(self._PAUSE_AT_HEAD, max(0.0, end - now())))
        while True:
            mark = self._log.changes.count
            try:
                page = await self._look(limit)
            except PerdureError as error:
                if patience is not None or not error.is_transient:
                    raise
                pause = min(max(pause * 2, 0.05), self._LONGEST_PAUSE)
                self._log.head.outage.failed(
                    self, error, operation="follow", pause=pause, global_position=self._reached
                )
                await asyncio.sleep(pause)
                continue
            self._log.head.outage.succeeded(self, operation="follow", global_position=self._reached)
            pause = 0.0
            if page.position > self._reached:
                self._move_to(page)
                return page
            if (remaining := end - now()) <= 0:
                return page
            place = Place(self._reached, self._seen)
            await self._log.head.wait(place, held_back=page.held_back, mark=mark, timeout=remaining)

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
            self._seen = SeenEvent(page.events[-1].global_position, page.events[-1].event_id)
        self._seen = page.seen or self._seen

"""Reads the whole log in pages, forwards or backwards, up to a position that must be included; and follows it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar, Unpack, cast
from uuid import UUID

from perdure.causation import CausedEvent, caused_events
from perdure.checks import LARGEST_COUNT, check_count, check_instance, check_seconds, checked_id, checked_time
from perdure.commit import AppendResult
from perdure.errors import FenceHolder, InvalidArgumentError, LogHeldBackError
from perdure.errors.formats import shown
from perdure.events import StoredEvent
from perdure.head import Head
from perdure.log import (
    PAGE_SIZE,
    ChangeSignal,
    LogFilter,
    Page,
    PageSize,
    SeenEvent,
    Selection,
    Start,
    SubscriptionStart,
    make_filter,
)
from perdure.subscription import Subscription
from perdure.tasks import Tasks

UP_TO_TIMEOUT: Final = 10.0
"""Seconds that a read waits at most until the log can be read up to the position that it must include."""

UpTo = AppendResult | Sequence[AppendResult | None] | int | None
"""What a read must include: the result of an append or a save, the results of several, or a position."""

P = TypeVar("P")


class LogReader(ABC):
    """The part of an event store that reads and follows the whole log.

    Attributes:
        changes: Announced after each append.
        head: Watches the end of the log for all followers.
        tasks: The background tasks of the store.
    """

    changes: ChangeSignal
    head: Head
    tasks: Tasks

    async def read_all_events(
        self,
        from_position: int = 0,
        max_count: int | None = None,
        *,
        up_to: UpTo = None,
        timeout: float = UP_TO_TIMEOUT,
        **where: Unpack[Selection],
    ) -> list[StoredEvent]:
        """Return the events of the whole log strictly after `from_position`, in global order, without a gap.

        The log can be read up to the first append that is still open. Events after it are left out until it has ended,
        even if they are acknowledged already. So the list may lack events that you have just appended. Give `up_to` to
        read your own writes.

        Args:
            from_position: where to begin; 0 is the beginning.
            max_count: how many events at most; None for all.
            up_to: an append that must be included: what `append_to_stream`, `append_to_streams` or a repository's
                `save` returned, or a position. The call waits until the log can be read up to there. It then returns
                every event that matches, up to there and beyond, as far as `max_count` allows.
            timeout: how many seconds it waits at most. Without `up_to` it never waits.
            **where: filters; without any, all events are returned. ``stream_id``: only this stream. ``category``: only
                streams of this category, or of one of these. ``event_types``: only these types, by stored name or
                class. ``correlation_id``: only what one request set in motion. ``recorded_from``,
                ``recorded_before``: only events that the database recorded at or after the first time, and before the
                second.

        Raises:
            LogHeldBackError: the log could not be read up to `up_to` in time; it names the sessions that hold it back.
            InvalidArgumentError: `up_to` is beyond the end of the log, or another argument can't be used.

        Example:
            placed = await store.append_to_stream("order-1", ANY, [OrderPlaced(item="book")])
            orders = await store.read_all_events(category="order", up_to=placed)
        """
        if max_count is not None:
            check_count("max_count", max_count)
        found: list[StoredEvent] = []
        wanted = make_filter(**where)
        check_count("from_position", from_position)
        barrier = LogBarrier(self, up_to, timeout)
        while max_count is None or len(found) < max_count:
            limit = PAGE_SIZE if max_count is None else min(PAGE_SIZE, max_count - len(found))
            page = await barrier.read(partial(self.log_page, from_position, limit, wanted))
            found += page.events
            if page.position == from_position:
                break
            from_position = page.position
        return found

    async def read_all_events_backwards(
        self,
        before_position: int | None = None,
        max_count: int | None = None,
        *,
        up_to: UpTo = None,
        timeout: float = UP_TO_TIMEOUT,
        **where: Unpack[Selection],
    ) -> list[StoredEvent]:
        """Return the events of the whole log strictly before `before_position`, newest first, for display.

        If fewer than `max_count` events come back, nothing is left. For the next page, give the last event's position.
        A page stays the same, whatever is appended later. As in `read_all_events`, an event appears once nothing can
        be appended before it any more. So events that you have just appended may be missing, unless you give `up_to`.

        Args:
            before_position: where to begin; None is the end.
            max_count: how many events at most; None for all.
            up_to: as in `read_all_events`: the call waits until the log can be read up to there.
            timeout: how many seconds it waits at most.
            **where: as in `read_all_events`.

        Raises:
            LogHeldBackError, InvalidArgumentError: as in `read_all_events`.
        """
        if max_count is not None:
            check_count("max_count", max_count)
        wanted = make_filter(**where)
        before_position = checked_end("before_position", before_position)
        barrier = LogBarrier(self, up_to, timeout)
        found: list[StoredEvent] = []
        while max_count is None or len(found) < max_count:
            limit = PAGE_SIZE if max_count is None else min(PAGE_SIZE, max_count - len(found))
            page = await barrier.read(partial(self.log_page_backwards, before_position, limit, wanted))
            found += page
            if len(page) < limit:
                break
            before_position = page[-1].global_position
        return found

    async def causation_tree(
        self, correlation_id: UUID | str, *, up_to: UpTo = None, timeout: float = UP_TO_TIMEOUT
    ) -> list[CausedEvent]:
        """Return all that one request set in motion: each event beneath the one that caused it, in log order.

        As in `read_all_events`, events that you have just appended may be missing, so the list may be empty. Give
        `up_to` to include them.

        Args:
            correlation_id: the correlation id of the request.
            up_to: as in `read_all_events`: the call waits until the log can be read up to there.
            timeout: how many seconds it waits at most.

        Raises:
            LogHeldBackError, InvalidArgumentError: as in `read_all_events`.

        Example:
            paid = await store.append_to_stream("payment-1", ANY, [PaymentTaken(amount=20)])
            trees = await store.causation_tree("request-7", up_to=paid)
        """
        wanted = checked_id("correlation_id", correlation_id)
        return caused_events(await self.read_all_events(correlation_id=wanted, up_to=up_to, timeout=timeout))

    async def iterate_all_events(
        self,
        from_position: int = 0,
        *,
        up_to: UpTo = None,
        timeout: float = UP_TO_TIMEOUT,
        **where: Unpack[Selection],
    ) -> AsyncIterator[StoredEvent]:
        """Iterate over what `read_all_events` returns, a page at a time, so that memory stays bounded.

        The iteration ends at the end of the log. As in `read_all_events`, events that you have just appended may be
        missing, unless you give `up_to`. `timeout` limits only the waiting, not the time between two events.
        """
        wanted = make_filter(**where)
        check_count("from_position", from_position)
        barrier = LogBarrier(self, up_to, timeout)
        size = PageSize()
        while True:
            page = await barrier.read(partial(self.log_page, from_position, size.limit, wanted))
            if page.position <= from_position:
                return
            for stored in page.events:
                yield stored
            from_position = page.position
            size.learn(page.events)

    def subscribe(
        self,
        start: Start = 0,
        *,
        from_event_id: UUID | None = None,
        stream_id: str | None = None,
        category: str | Sequence[str] | None = None,
        event_types: Sequence[str | type] | None = None,
    ) -> Subscription:
        """Follow the log: first the stored events from `start` on, then new ones as they are appended.

        A subscription ends only by an error that can't pass; it waits out all others. `Subscription.position` is its
        checkpoint.

        Args:
            start: a position, to begin strictly after it; 0 is the beginning. A time, for what the database recorded
                at that time or later. `NOW`, to begin after the last event that the log can be read up to when the
                subscription begins: when it is first awaited, or earlier by `Subscription.begin`.
            from_event_id: the id of the event at that position. If another event is there, the log isn't the one that
                was read, and iterating raises LogDivergedError.
            stream_id: only this stream.
            category: only streams of this category, or of one of these.
            event_types: only these types, by stored name or class.

        Example:
            async for stored in store.subscribe(checkpoint):
                print(stored.global_position, stored.event)
        """
        if isinstance(start, datetime):
            start = checked_time("start", start)
        elif not isinstance(start, SubscriptionStart):
            check_count("start", start)
        if from_event_id is not None:
            check_instance("from_event_id", from_event_id, UUID)
            if not isinstance(start, int):
                raise InvalidArgumentError("from_event_id", "names the event at a position: give that position, too")
        where = make_filter(category, event_types, stream_id=stream_id)
        subscription = Subscription(self, start, from_event_id, where)
        self.on_follow()
        return subscription

    def on_follow(self) -> None:  # noqa: B027 - a store that nothing notifies has nothing to prepare
        """Prepare for a follower. Called by `subscribe`: a store with ``notifications`` begins to listen."""

    @abstractmethod
    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """Return a page of the log strictly after `from_position`: never beyond a gap that an append may still fill.

        Raises:
            LogDivergedError: the event `seen` isn't at its position.
            LogHeldBackError: the log can't be read up to the position `up_to` yet.
            InvalidArgumentError: no append has been given the position `up_to`.
        """

    @abstractmethod
    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        """Return the events of the log strictly before `before_position`, newest first: never beyond an open gap.

        Raises:
            LogHeldBackError, InvalidArgumentError: as in `log_page`.
        """

    async def fence_holders(self, before_position: int) -> tuple[FenceHolder, ...]:  # noqa: ARG002 - for stores that know them
        """Return the sessions whose open appends may still be given a position up to this one, as far as known."""
        return ()


class LogBarrier:
    """Holds a read until the log can be read up to a position, for a limited time.

    Args:
        log: the log to read.
        up_to: what must be included; None: there is nothing to wait for.
        timeout: how many seconds to wait at most.

    Raises:
        InvalidArgumentError: `up_to` is neither a result nor a position, or `timeout` isn't a number of seconds.
    """

    _PAUSE: Final = 0.002
    """Seconds between two reads at least: on a busy log, appends are announced all the time."""
    _WAITS: Final = (0.001, 0.1)
    """Seconds between two reads, at first and at most. Nothing announces that an append was rolled back."""

    def __init__(self, log: LogReader, up_to: UpTo, timeout: float) -> None:
        self._log = log
        self._position = _position_of(up_to)
        check_seconds("timeout", timeout)
        self._timeout = timeout

    async def read(self, page: Callable[..., Awaitable[P]]) -> P:
        """Return what `page` reads, as soon as the log can be read far enough.

        Raises:
            LogHeldBackError: it couldn't be read far enough in time.
        """
        if not self._position:
            return await page()
        now = asyncio.get_running_loop().time
        end = now() + self._timeout
        wait, longest = self._WAITS
        while True:
            seen = self._log.changes.count
            try:
                return await page(up_to=self._position)
            except LogHeldBackError:
                remaining = end - now()
            if remaining <= 0:
                return await self._last_try(page)
            await asyncio.sleep(min(self._PAUSE, remaining))
            await self._log.changes.wait(seen, min(wait, remaining))
            wait = min(wait * 2, longest)

    async def _last_try(self, page: Callable[..., Awaitable[P]]) -> P:
        # The holders are read first: if the page is still held back after that, they were the reason.
        holders = await self._log.fence_holders(self._position)
        try:
            return await page(up_to=self._position)
        except LogHeldBackError as error:
            raise error.after(self._timeout, holders) from None


def never_drawn(up_to: int, last_drawn: int) -> InvalidArgumentError:
    """Return the error for a position beyond the end of the log."""
    return InvalidArgumentError(
        "up_to", f"is position {up_to}, but the log ends at {last_drawn}: give what an append to this store returned"
    )


def checked_end(argument: str, value: int | None) -> int:
    """Return where to begin backwards; None is the end. Raise InvalidArgumentError unless it is None or a count."""
    if value is None:
        return LARGEST_COUNT
    check_count(argument, value)
    return value


def _position_of(up_to: object) -> int:
    """Return the position that must be included; 0 if there is none."""
    if up_to is None:
        return 0
    if isinstance(up_to, AppendResult):
        return up_to.global_position
    if isinstance(up_to, int):
        check_count("up_to", up_to)
        return up_to
    results = _several(up_to)
    positions = [one.global_position if isinstance(one, AppendResult) else 0 for one in results]
    if not positions or not all(one is None or isinstance(one, AppendResult) for one in results):
        raise InvalidArgumentError("up_to", f"must be what appends returned, or a position, not {shown(up_to)}")
    return max(positions)


def _several(up_to: object) -> Sequence[object]:
    return cast("Sequence[object]", up_to) if isinstance(up_to, list | tuple) else ()

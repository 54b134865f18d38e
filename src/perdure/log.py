"""The log: the one global order of all events, and the pages in which it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypedDict, cast
from uuid import UUID

from perdure.checks import checked_id, checked_time
from perdure.errors import InvalidArgumentError, LogDivergedError
from perdure.errors.formats import shown
from perdure.events import StoredEvent, check_category, check_stream_id, registry

PAGE_SIZE: Final = 500
PAGE_BYTES: Final = 4 * 1024 * 1024
"""How much payload and metadata a page should hold at most; one event may take more."""


class SubscriptionStart(Enum):
    """A place in the log where a subscription may begin, if not after a position."""

    NOW = "now"


NOW: Final = SubscriptionStart.NOW
"""Begin after the last event that the log can be read up to now."""

Start = int | datetime | SubscriptionStart
"""Where to begin in the log: after a position, at a time, or `NOW`."""


class LogFilter(NamedTuple):
    """Which events of the log to read; None means all."""

    categories: tuple[str, ...] | None = None
    event_types: tuple[str, ...] | None = None
    correlation_id: str | None = None
    recorded_from: datetime | None = None
    recorded_before: datetime | None = None
    stream_id: str | None = None

    def matches(self, stored: StoredEvent) -> bool:
        """Return whether an event is one of these."""
        return (
            (self.categories is None or stored.stream_id.partition("-")[0] in self.categories)
            and (self.stream_id is None or stored.stream_id == self.stream_id)
            and (self.event_types is None or stored.event_type in self.event_types)
            and (self.recorded_from is None or stored.recorded_at >= self.recorded_from)
            and (self.recorded_before is None or stored.recorded_at < self.recorded_before)
            and (self.correlation_id is None or stored.metadata.correlation_id == self.correlation_id)
        )


class Selection(TypedDict, total=False):
    """Which events of the log to read, as arguments of a call. See `EventStore.read_all_events`."""

    stream_id: str | None
    category: str | Sequence[str] | None
    event_types: Sequence[str | type] | None
    correlation_id: UUID | str | None
    recorded_from: datetime | None
    recorded_before: datetime | None


class SeenEvent(NamedTuple):
    """An event that a reader has read. It verifies that the log is still the same."""

    global_position: int
    event_id: UUID


class LogPosition(NamedTuple):
    """The position up to which a reader has read the log."""

    position: int
    seen: SeenEvent | None
    """The last event that it has read, which may be before `position`; None where it has read none."""

    @property
    def event_id(self) -> UUID | None:
        """The id of the event at `position`; None where no event was read there."""
        return self.seen.event_id if self.seen is not None and self.seen.global_position == self.position else None


class Page(NamedTuple):
    """Consecutive events of the log that a filter matches."""

    events: list[StoredEvent]
    position: int
    """Continue after this: the position of the last event, or a later one if no event can be added before that."""
    held_back: bool = False
    """Whether there are events behind a gap that an append in flight may still fill."""
    seen: SeenEvent | None = None
    """The event at `position`, where that isn't the last of `events`."""


class Listener(Protocol):
    """Is called with each announcement."""

    def __call__(self, *, is_certain: bool) -> None:
        """Something was appended; or may have been, if that isn't certain."""
        ...


class ChangeSignal:
    """Wakes followers of the log in this process when something was appended.

    Attributes:
        count: How many announcements there were.
        listeners: Called with each announcement.
    """

    def __init__(self) -> None:
        self.count = 0
        self.listeners: list[Listener] = []
        self._waiters: set[asyncio.Future[None]] = set()

    def announce(self, *, is_certain: bool = True) -> None:
        """Announce that something was appended; or that it may have been, if that isn't certain."""
        self.count += 1
        for waiter in self._waiters:
            wake(waiter)
        self._waiters.clear()
        for listener in self.listeners:
            listener(is_certain=is_certain)

    async def wait(self, seen: int, timeout: float) -> None:
        """Return once `count` is beyond `seen`, or after `timeout` seconds."""
        if self.count != seen:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout, wake, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def wake(waiter: asyncio.Future[None]) -> None:
    """End the wait of a follower, unless it has ended."""
    if not waiter.done():
        waiter.set_result(None)


_SAMPLE: Final = 64
"""How many events of a page are measured at most, about. To measure each of them takes as long as to make it."""


class PageSize:
    """How many events to read at once: few at first, more as long as they are small.

    A store that reads from a database also ends a page that would hold more than `PAGE_BYTES`.

    Args:
        most: how many at most.

    Attributes:
        limit: How many to read next.
    """

    def __init__(self, most: int = PAGE_SIZE) -> None:
        self._most = most
        self.limit = min(128, most)

    def learn(self, events: Sequence[StoredEvent]) -> None:
        """Adapt the limit to the size of the events that were read, by a sample of them."""
        if events:
            sample = events[:: 1 + len(events) // _SAMPLE]
            size = sum([len(stored.event_data) + len(stored.stored_metadata) for stored in sample]) / len(sample)
            self.limit = max(1, min(self._most, self.limit * 4, int(PAGE_BYTES / (size + 1))))


class Log(Protocol):
    """A log that is read page by page."""

    async def log_page(self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None) -> Page:
        """Return a page of the log strictly after `from_position`: never beyond a gap that may still be filled.

        Raises:
            LogDivergedError: the event `seen` isn't at its position.
        """
        ...


async def verify_position(log: Log, name: str, position: int, event_id: UUID) -> None:
    """Raise LogDivergedError unless that event is at that position. `name` is the reader, for the message."""
    try:
        await log.log_page(position, 1, LogFilter(), SeenEvent(position, event_id))
    except LogDivergedError as error:
        raise LogDivergedError(name, position, event_id, error.found) from None


def make_filter(
    category: str | Sequence[str] | None = None,
    event_types: Sequence[str | type] | None = None,
    *,
    correlation_id: UUID | str | None = None,
    recorded_from: datetime | None = None,
    recorded_before: datetime | None = None,
    stream_id: str | None = None,
) -> LogFilter:
    """Return the filter that the public arguments describe."""
    if stream_id is not None:
        check_stream_id(stream_id)
    return LogFilter(
        None if category is None else _checked_categories(category),
        None if event_types is None else checked_types(event_types),
        None if correlation_id is None else checked_id("correlation_id", correlation_id),
        None if recorded_from is None else checked_time("recorded_from", recorded_from),
        None if recorded_before is None else checked_time("recorded_before", recorded_before),
        stream_id,
    )


def _checked_categories(category: str | Sequence[str]) -> tuple[str, ...]:
    """Return the categories, each of them once: a store may read them one by one."""
    given: object = [category] if isinstance(category, str) else category
    if isinstance(given, bytes) or not isinstance(given, Collection) or not given:
        raise InvalidArgumentError("category", f"must be a category, or a list of at least one, not {shown(category)}")
    categories = cast("Collection[str]", given)
    for one in categories:
        check_category(one)
    return tuple(sorted({*categories}))


def checked_types(event_types: Sequence[str | type]) -> tuple[str, ...]:
    """Return the stored names of types that are given by name or class. Raise InvalidArgumentError if there is none."""
    if isinstance(event_types, str | bytes) or not isinstance(event_types, Collection) or not event_types:
        raise InvalidArgumentError("event_types", "must be a list of at least one stored name or event class")
    return tuple(sorted({name for one in event_types for name in _stored_names(one)}))


def _stored_names(event_type: object) -> tuple[str, ...]:
    if isinstance(event_type, type):
        return registry.by_class(event_type).names
    checked_id("event_types", cast("str", event_type))
    return (cast("str", event_type),)

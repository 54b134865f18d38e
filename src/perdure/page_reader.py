"""The reading half of the store port: pages of streams and of the log, as a store's storage returns them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from perdure.errors import FenceHolder
from perdure.events import StoredEvent
from perdure.log import PAGE_SIZE, LogFilter, Page, PageSize, SeenEvent

_LAST: Final = 2**31
"""Beyond the version of any event."""


class StoredType(msgspec.Struct, frozen=True):
    """A type of events in one version of its schema, as the store holds it.

    Attributes:
        event_type: The stored name.
        event_version: The version of the schema.
        count: How many such events there are.
        first_position: The position of the oldest in the log.
        last_position: The position of the newest.
    """

    event_type: str
    event_version: int
    count: int
    first_position: int
    last_position: int


class PageReader(ABC):
    """Reads what a store holds. A store implements it, and gives it to `EventStore`.

    `EventStore` calls it with checked arguments, and only while the store is open. Each call returns events that are
    new objects: callers may change them. Reads may run at the same time as appends and each other.

    Five methods are abstract. The others are derived from them: override one where the storage has a faster way.
    """

    @abstractmethod
    async def stream_page(
        self, stream_id: str, from_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly after `from_version`, oldest first; at most `limit`.

        Args:
            stream_id: the stream.
            from_version: where the page begins.
            limit: how many events at most; None for all. Events of other types don't count.
            event_types: only events with one of these stored names; None for all.
        """

    @abstractmethod
    async def stream_page_backwards(
        self, stream_id: str, before_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly before `before_version`, newest first; at most `limit`.

        `event_types` and `limit` as in `stream_page`.
        """

    @abstractmethod
    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """Return a page of the log strictly after `from_position`: never beyond a gap that an append may still fill.

        Args:
            from_position: where the page begins.
            limit: how many events at most; the page may have fewer where they are large.
            where: which events.
            seen: an event that the caller has read; it must still be in the log.
            up_to: the position up to which the log must be readable.

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

    @abstractmethod
    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """Return the event with that id, or None."""

    async def stream_version(self, stream_id: str) -> int:
        """Return the version of a stream: that of its last event, 0 if it has none."""
        last = await self.stream_page_backwards(stream_id, _LAST, 1)
        return last[0].stream_version if last else 0

    async def stored_types(self) -> list[StoredType]:
        """Return each type in each version that is stored, sorted. This implementation reads the whole log."""
        positions: dict[tuple[str, int], list[int]] = {}
        async for stored in self._log():
            positions.setdefault((stored.event_type, stored.event_version), []).append(stored.global_position)
        return [StoredType(*kind, len(found), found[0], found[-1]) for kind, found in sorted(positions.items())]

    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """Return events of a type and version in log order: at most `limit` of the oldest, and `limit` of the newest.

        The first and the last event are among them. A store may return fewer of the others where finding them would
        take long. This implementation reads the whole log.
        """
        kind = (stored_type.event_type, stored_type.event_version)
        found = [one async for one in self._log() if (one.event_type, one.event_version) == kind]
        return found if len(found) <= 2 * limit else found[:limit] + found[len(found) - limit :]

    async def fence_holders(self, before_position: int) -> tuple[FenceHolder, ...]:  # noqa: ARG002 - for stores that know them
        """Return the sessions whose open appends may still be given a position up to this one, as far as known."""
        return ()

    async def _log(self) -> AsyncGenerator[StoredEvent]:
        position = 0
        while (page := await self.log_page(position, PAGE_SIZE, LogFilter())).position > position:
            for stored in page.events:
                yield stored
            position = page.position


class StreamReader(Protocol):
    """Reads streams and checks its arguments, as an `EventStore` does."""

    async def read_stream(
        self,
        stream_id: str,
        from_version: int,
        max_count: int,
        /,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Any = None,
    ) -> list[StoredEvent]:
        """Return at most `max_count` events of a stream strictly after `from_version`, oldest first."""
        ...


async def stream_pages(
    store: StreamReader,
    stream_id: str,
    from_version: int,
    event_types: Sequence[str | type] | None = None,
    tx: Any = None,
) -> AsyncGenerator[list[StoredEvent]]:
    """Iterate over the pages of a stream. Awaiting each event instead would cost more than most handlers do."""
    size = PageSize()
    while page := await store.read_stream(stream_id, from_version, limit := size.limit, event_types=event_types, tx=tx):
        yield page
        from_version = page[-1].stream_version
        if len(page) < limit:
            return
        size.learn(page)

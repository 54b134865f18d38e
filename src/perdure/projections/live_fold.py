"""Folds rows from the log on demand, up to any point of the past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, NamedTuple

from perdure.checks import LARGEST_COUNT, check_count, checked_time
from perdure.errors import InvalidArgumentError, InvalidStreamIdError, ProjectionTimeoutError
from perdure.events import StoredEvent, check_stream_id
from perdure.log import PageSize, make_filter
from perdure.page_reader import stream_pages
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, fold, plan
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import Scope
from perdure.store import EventStore

_AT_GAP: Final = 0.02
"""Seconds between two reads at a gap in the log."""


class Until(NamedTuple):
    """The point up to which to read, inclusively."""

    version: int
    position: int
    time: datetime | None

    def excludes(self, stored: StoredEvent) -> bool:
        """Whether an event comes later."""
        return (
            stored.stream_version > self.version
            or stored.global_position > self.position
            or (self.time is not None and stored.recorded_at > self.time)
        )


class LiveFold:
    """Folds the rows of one projection from the log.

    Args:
        store: the store that holds the events.
        definition: the projection.
        timeout: how many seconds to wait at most for a position that open appends still hold back.
    """

    def __init__(self, store: EventStore, definition: TableDefinition, timeout: float) -> None:
        self._store = store
        self._definition = definition
        self._timeout = timeout

    async def rows(self, key: Key | None, until: Until) -> Rows:
        """Return the rows of a key, or all rows. Raise what a handler raises."""
        rows: Rows = {}
        scope = Scope(only=key)
        async with aclosing(self._pages(key, until)) as pages:
            async for events in pages:
                _, failure = fold(self._definition, plan(self._definition, events, scope), rows)
                if failure is not None:
                    raise failure.error
        return rows

    def _pages(self, key: Key | None, until: Until) -> AsyncGenerator[Sequence[StoredEvent]]:
        category = self._definition.projection.by_stream
        if category is not None and key is not None:
            return self._pages_of_stream(f"{category}-{key[0]}", until)
        if until.version != LARGEST_COUNT:
            raise InvalidArgumentError(
                "at_version", f"needs a stream: {self._definition.name!r} has no by_stream, so use at_position"
            )
        return self._pages_of_log(until)

    async def _pages_of_stream(self, stream_id: str, until: Until) -> AsyncGenerator[Sequence[StoredEvent]]:
        try:
            check_stream_id(stream_id)
        except InvalidStreamIdError:
            return  # no stream can have that id, so no row has that key
        async with aclosing(stream_pages(self._store, stream_id, 0)) as pages:
            async for page in pages:
                wanted = _before(page, until)
                yield wanted
                if len(wanted) < len(page):
                    return

    async def _pages_of_log(self, until: Until) -> AsyncGenerator[Sequence[StoredEvent]]:
        where = make_filter(self._definition.projection.by_stream, list(self._definition.handlings))
        size, position = PageSize(), 0
        deadline = asyncio.get_running_loop().time() + self._timeout
        while position < until.position:
            seen = self._store.changes.count
            page = await self._store.log_page(position, size.limit, where)
            wanted = _before(page.events, until)
            yield wanted
            if len(wanted) < len(page.events):
                return
            if page.position == position:
                if not page.held_back or until.position == LARGEST_COUNT:
                    return
                if asyncio.get_running_loop().time() > deadline:
                    raise ProjectionTimeoutError(
                        self._definition.name, until.position, position, self._timeout, "appends that are under way"
                    )
                await self._store.changes.wait(seen, _AT_GAP)
            position = page.position
            size.learn(page.events)


def _before(events: Sequence[StoredEvent], until: Until) -> Sequence[StoredEvent]:
    """Return the events before the first one that is too late, as `Repository.load` does: a state that existed."""
    for number, stored in enumerate(events):
        if until.excludes(stored):
            return events[:number]
    return events


def until_of(at_version: int | None, at_position: int | None, at_time: datetime | None) -> Until:
    """Return the earliest of these points, or the end of the log.

    Raises:
        InvalidArgumentError: one can't be a point of the log.
    """
    for argument, value in (("at_version", at_version), ("at_position", at_position)):
        if value is not None:
            check_count(argument, value)
    return Until(
        LARGEST_COUNT if at_version is None else at_version,
        LARGEST_COUNT if at_position is None else at_position,
        None if at_time is None else checked_time("at_time", at_time),
    )

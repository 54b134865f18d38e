"""`LiveProjection`: rows folded on demand, straight from the log, now or at any point of the past."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

from perdure.checks import LARGEST_COUNT, check_count, check_function, check_instance, check_seconds, checked_time
from perdure.children import ChildTable
from perdure.errors import InvalidArgumentError, ProjectionRowError, ProjectionTimeoutError
from perdure.errors.formats import shown
from perdure.events import StoredEvent, check_stream_id
from perdure.log import PageSize, make_filter
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import Rows, fold, plan
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import Scope
from perdure.store import EventStore, stream_pages

Row = TypeVar("Row")
Child = TypeVar("Child")

_BYTES: Final = (bytes, bytearray, memoryview)
"""Types that JSON would turn into text."""
_AT_GAP: Final = 0.02
"""Seconds between two reads at a gap in the log."""


class _Until(NamedTuple):
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


class LiveProjection(Generic[Row]):
    """Rows of a `TableProjection` without its table: each query reads the events that it handles, and folds them.

    It needs no service, and works with any store. It shows what the table would show, now or at any time in the past.
    Use it for audits, support, tests, and read models that are rarely queried. A query costs what reading those events
    costs. If the key is the stream (`by_stream`), a query for one key reads only that stream.

    Args:
        store: the store that holds the events.
        projection: the projection.
        timeout: how many seconds to wait at most for a position that open appends still hold back.

    Raises:
        ProjectionDefinitionError: the projection can't work as it is written.

    Example:
        profiles = LiveProjection(store, UserProfiles())
        profile = await profiles.get("123", at_time=datetime(2026, 1, 1, tzinfo=UTC))
        premium = await profiles.query(lambda profile: profile.plan == "premium")
    """

    def __init__(self, store: EventStore, projection: TableProjection[Row], *, timeout: float = 10.0) -> None:
        check_instance("store", store, EventStore)
        check_seconds("timeout", timeout)
        self._store = store
        self._definition = TableDefinition(projection)
        self._timeout = timeout

    async def get(
        self,
        key: object,
        *,
        at_version: int | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> Row | None:
        """Return the row of a key, or None.

        Args:
            key: the key; a tuple if it has several fields.
            at_version: as of this version of its stream, if the key is the stream (`by_stream`).
            at_position: as of this position of the log, to read your own writes or to compare with a checkpoint.
            at_time: as of the events recorded by then. Later events don't count, whatever their own timestamps.

        Raises:
            ProjectionRowError: `key` can't be a key.
            ProjectionTimeoutError: the log can't be read up to the position, because of appends that are under way.
            Exception: whatever a handler raises.
        """
        one = self._key(key)
        rows = await self._fold(one, _until(at_version, at_position, at_time))
        table = self._definition.table
        row = rows.get(table.name, {}).get(one)
        return None if row is None else table.codec.decode(row)

    async def query(
        self,
        where: Callable[[Row], bool] | None = None,
        *,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> list[Row]:
        """Return all rows, or those for which `where` returns True. All rows are in memory at once. See `get`."""
        if where is not None:
            check_function("where", where)
        rows = await self._fold(None, _until(None, at_position, at_time))
        table = self._definition.table
        found: list[Row] = [table.codec.decode(row) for row in rows.get(table.name, {}).values()]
        return found if where is None else [row for row in found if where(row)]

    async def child_rows(
        self,
        child: ChildTable[Child],
        key: object,
        *,
        at_version: int | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> list[Child]:
        """Return the rows of a child table for a key: ``live.child_rows(Popularity.viewers, "123")``. See `get`."""
        name = self._definition.child_name(child)
        one = self._key(key)
        rows = await self._fold(one, _until(at_version, at_position, at_time))
        table = self._definition.children[name]
        return [table.codec.decode(row) for row in rows.get(table.name, {}).values()]

    def _key(self, key: object) -> Key:
        table = self._definition.table
        if type(key) in _BYTES:
            raise ProjectionRowError(table.view, f"{shown(key)} can't be a key ({', '.join(table.key)})")
        return table.to_key(key)

    async def _fold(self, key: Key | None, until: _Until) -> Rows:
        """Fold the rows of a key, or all rows."""
        rows: Rows = {}
        scope = Scope(only=key)
        async with aclosing(self._pages(key, until)) as pages:
            async for events in pages:
                _, failure = fold(self._definition, plan(self._definition, events, scope), rows)
                if failure is not None:
                    raise failure.error
        return rows

    def _pages(self, key: Key | None, until: _Until) -> AsyncGenerator[Sequence[StoredEvent]]:
        category = self._definition.projection.by_stream
        if category is not None and key is not None:
            return self._pages_of_stream(f"{category}-{key[0]}", until)
        if until.version != LARGEST_COUNT:
            raise InvalidArgumentError(
                "at_version", f"needs a stream: {self._definition.name!r} has no by_stream, so use at_position"
            )
        return self._pages_of_log(until)

    async def _pages_of_stream(self, stream_id: str, until: _Until) -> AsyncGenerator[Sequence[StoredEvent]]:
        check_stream_id(stream_id)
        async with aclosing(stream_pages(self._store, stream_id, 0)) as pages:
            async for page in pages:
                wanted = _before(page, until)
                yield wanted
                if len(wanted) < len(page):
                    return

    async def _pages_of_log(self, until: _Until) -> AsyncGenerator[Sequence[StoredEvent]]:
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


def _before(events: Sequence[StoredEvent], until: _Until) -> Sequence[StoredEvent]:
    """Return the events before the first one that is too late, as `Repository.load` does: a state that existed."""
    for number, stored in enumerate(events):
        if until.excludes(stored):
            return events[:number]
    return events


def _until(at_version: int | None, at_position: int | None, at_time: datetime | None) -> _Until:
    for argument, value in (("at_version", at_version), ("at_position", at_position)):
        if value is not None:
            check_count(argument, value)
    return _Until(
        LARGEST_COUNT if at_version is None else at_version,
        LARGEST_COUNT if at_position is None else at_position,
        None if at_time is None else checked_time("at_time", at_time),
    )

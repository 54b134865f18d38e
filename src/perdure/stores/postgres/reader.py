"""Reads streams, and the log up to the position before which no event can appear any more.

Positions become visible in another order than they are drawn, so ``global_position > last`` alone loses events. Events
that follow the last position without a gap are safe. At a gap, and where a filter hides gaps, the reader asks the
fence: it reads `safe_position`, and then, with a later snapshot, the rows up to it.

A page is cut short if its events are large. The server measures large values only in pages that hold some: measuring
every event would make reading two thirds slower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from perdure.errors import DatabaseError, FenceHolder, LogDivergedError, LogHeldBackError
from perdure.events import StoredEvent
from perdure.log import PAGE_BYTES, PAGE_SIZE, LogFilter, Page, SeenEvent
from perdure.log_reader import never_drawn
from perdure.page_reader import PageReader, StoredType
from perdure.stores.postgres.connections.database import Connection, Database, Source
from perdure.stores.postgres.driver_errors import DIVERGED
from perdure.stores.postgres.event_rows import stored_events
from perdure.stores.postgres.inspection import Inspection
from perdure.stores.postgres.sql_files import Statements, fill_in

_NOTHING_SEEN = (None, None)
_SCAN_TIMEOUT = 3600.0
_SAMPLED_ROWS = 50_000
"""How many events are searched from each end. To find all events of a rare type, the whole log would be searched."""


class Reader(PageReader):
    """Reads what is stored.

    Args:
        database: the database of the store.
        source: where streams are read; by default on connections of the database's pool.
    """

    def __init__(self, database: Database, source: Source | None = None) -> None:
        self._database = database
        self._source: Source = database if source is None else source
        self._sql = Statements(Path(__file__).parent / "sql" / "reads", schema=database.quoted_schema)
        self._bounded: dict[tuple[str, str], str] = {}

    async def stream_page(
        self, stream_id: str, from_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly after `from_version`, oldest first."""
        async with self._source.connection() as connection:
            return await self.stream_page_in(connection, stream_id, from_version, limit, event_types)

    async def stream_page_in(
        self,
        connection: Connection,
        stream_id: str,
        from_version: int,
        limit: int | None,
        event_types: tuple[str, ...] | None = None,
    ) -> list[StoredEvent]:
        """Return the same as a transaction of the caller sees it."""
        name, types = _of_types("read_stream", event_types)
        return stored_events(await connection.fetch(self._sql[name], stream_id, from_version, limit, *types))

    async def stream_page_backwards(
        self, stream_id: str, before_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly before `before_version`, newest first."""
        name, types = _of_types("read_stream_backwards", event_types)
        return stored_events(await self._source.fetch(self._sql[name], stream_id, before_version, limit, *types))

    async def stream_version(self, stream_id: str) -> int:
        """Return the version of a stream, 0 if it has no events."""
        return await self._source.fetch_value(self._sql["stream_version"], stream_id) or 0

    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """Return the event with that id, or None."""
        rows = await self._source.fetch(self._sql["read_event"], event_id)
        return stored_events(rows)[0] if rows else None

    async def stored_types(self) -> list[StoredType]:
        """Return each type in each version that is stored, sorted."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._sql["stored_types"], timeout=_SCAN_TIMEOUT)
        return [StoredType(*row) for row in rows]

    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """Return the first and the last event of a type and version, and others near them in the log."""
        rows = await self._database.fetch(
            self._sql["sample_events"],
            stored_type.event_type,
            stored_type.event_version,
            stored_type.first_position,
            stored_type.last_position,
            limit,
            _SAMPLED_ROWS,
        )
        return stored_events(rows)

    async def fence_holders(self, before_position: int) -> tuple[FenceHolder, ...]:
        """Return the sessions whose open appends may still be given a position up to this one, lowest floor first."""
        holders = await Inspection(self._database).fence_holders()
        return tuple([holder for holder in holders if holder.floor < before_position])

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """Return a page of the log strictly after `from_position`: never beyond a gap that may still be filled."""
        if limit == 0:
            return Page([], from_position)
        try:
            return await self._log_page(from_position, limit, where, seen or _NOTHING_SEEN, up_to)
        except DatabaseError as error:
            if error.sqlstate != DIVERGED or seen is None:
                raise
            found = await self._database.fetch_value(self._sql["event_at"], seen.global_position)
            raise LogDivergedError("the subscription", *seen, found) from error

    async def _log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | tuple[None, None], up_to: int
    ) -> Page:
        if where != LogFilter() or up_to:
            return await self._fenced(from_position, limit, where, seen, up_to)
        rows, _ = await self._page("read_log", limit, from_position, limit, *seen)
        if not rows:
            return Page([], from_position)
        if rows[-1]["global_position"] - from_position != len(rows):
            rows = _contiguous(rows, from_position)
        if not rows:
            return await self._fenced(from_position, limit, where, seen)
        return _page(rows)

    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        """Return the events of the log strictly before `before_position`, newest first, from the safe position on."""
        safe, _ = await self._safe_position(_NOTHING_SEEN, up_to)
        name, arguments = await self._selection(0, min(before_position - 1, safe), limit, where, backwards=True)
        rows = await self._database.fetch(self._sql[name], *arguments)
        return stored_events(rows)

    async def _safe_position(self, seen: SeenEvent | tuple[None, None], up_to: int) -> tuple[int, int]:
        """Return the safe position, which is at `up_to` or beyond, and the last position that was drawn."""
        [(safe, last_drawn, is_standby)] = await self._database.fetch(self._sql["safe_position"], *seen)
        if safe < up_to:
            if last_drawn < up_to and not is_standby:
                raise never_drawn(up_to, last_drawn)
            raise LogHeldBackError(up_to, safe, on_standby=is_standby)
        return safe, last_drawn

    async def _fenced(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | tuple[None, None], up_to: int = 0
    ) -> Page:
        safe, last_drawn = await self._safe_position(seen, up_to)
        held_back = safe < last_drawn
        if safe <= from_position:
            return Page([], from_position, held_back)
        name, arguments = await self._selection(from_position, safe, limit, where)
        rows, is_cut = await self._page(name, limit, *arguments)
        if is_cut or len(rows) == limit:
            return _page(rows)
        if where == LogFilter():
            # The position is always that of an event, so that a checkpoint can name its event.
            return _page(rows) if rows else Page([], from_position, held_back)
        # No further event that matches can appear up to the safe position. The page ends at the last event before it,
        # whether it matches or not: the id of that event identifies the log later.
        events = stored_events(rows)
        reached = events[-1].global_position if events else from_position
        if reached == safe:
            return Page(events, safe, held_back)
        for last in await self._database.fetch(self._sql["last_event"], safe):
            if last["global_position"] > reached:
                return Page(events, last["global_position"], held_back, SeenEvent(*last))
        return Page(events, reached, held_back)

    async def _selection(
        self, after: int, last: int, limit: int, where: LogFilter, *, backwards: bool = False
    ) -> tuple[str, list[Any]]:
        """Return the name of the statement that reads the matching events, and its arguments."""
        if where.recorded_from is not None or where.recorded_before is not None:
            [(earliest, latest)] = await self._database.fetch(
                self._sql["recorded_positions"], where.recorded_from, where.recorded_before
            )
            after, last = max(after, earliest), min(last, latest)
        name, arguments = _statement(where, backwards=backwards)
        if where.stream_id is None:
            return name, [after, last, limit, *arguments]
        [versions] = await self._database.fetch(self._sql["stream_versions"], after, last, where.stream_id)
        return name, [*versions, limit, where.stream_id, last, *arguments]

    async def _page(self, name: str, limit: int, *arguments: object) -> tuple[list[asyncpg.Record], bool]:
        """Return the rows of a page: one at least, if any is left. Also return whether its size cut it short."""
        if limit == 1:
            return await self._database.fetch(self._sql[name], *arguments), False
        rows = await self._database.fetch(self._within("page_without_large", name), *arguments)
        small = _before_large(rows)
        if rows and not small:
            return await self._database.fetch(self._within("page_of_large", name), *arguments), True
        return small, len(small) < len(rows)

    def _within(self, around: str, name: str) -> str:
        """Return the statement `name` inside another one that limits the size of its page."""
        key = around, name
        if key not in self._bounded:
            sizes = {"large": str(PAGE_BYTES // PAGE_SIZE // 2), "page_bytes": str(PAGE_BYTES)}
            self._bounded[key] = fill_in(self._sql[around], page=self._sql[name], **sizes)
        return self._bounded[key]


def _of_types(name: str, event_types: tuple[str, ...] | None) -> tuple[str, list[list[str]]]:
    """Return the name of the statement that reads these types of a stream, and its arguments for them."""
    return (name, []) if event_types is None else (f"{name}_of_types", [list(event_types)])


def _page(rows: list[asyncpg.Record]) -> Page:
    return Page(stored_events(rows), rows[-1]["global_position"])


def _before_large(rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return the rows before the first one that was left out because of its size."""
    # Texts of JSON are never empty. Lists, because a generator takes longer than all the rest.
    if all([row[6] for row in rows]) and all([row[7] for row in rows]):  # noqa: C419 - see above
        return rows
    return rows[: next(index for index, row in enumerate(rows) if row[6] is None or row[7] is None)]


def _contiguous(rows: list[asyncpg.Record], from_position: int) -> list[asyncpg.Record]:
    """Return the rows before the first gap."""
    for index, row in enumerate(rows):
        if row["global_position"] != from_position + index + 1:
            return rows[:index]
    return rows


def _statement(where: LogFilter, *, backwards: bool) -> tuple[str, list[Any]]:
    types = None if where.event_types is None else list(where.event_types)
    times = [where.recorded_from, where.recorded_before]
    categories = None if where.categories is None else list(where.categories)
    way = "_backwards" if backwards else ""
    if where.stream_id is not None:
        return f"read_log_of_stream{way}", [where.correlation_id, categories, types, *times]
    if where.correlation_id is not None:
        return f"read_log_of_correlation{way}", [where.correlation_id, categories, types, *times]
    if categories is not None and len(categories) > 1:
        return f"read_log_of_categories_between{way}", [categories, types, *times]
    of, category = ("", []) if categories is None else ("_of_category", categories)
    if backwards or times != [None, None]:
        return f"read_log{of}_between{way}", [*category, types, *times]
    if types is None:
        return f"read_safe_log{of}", category
    return f"read_safe_log{of}{'_and' if category else '_of'}_types", [*category, types]

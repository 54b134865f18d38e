"""Reading: streams, and the log up to where no event can come in between any more.

Positions become visible in another order than they are drawn, so ``global_position > last`` alone loses events. What
follows the last position without a gap is safe as it is. At a gap, and where a filter hides gaps, the fence is asked:
`safe_position`, and then, with a later snapshot, the rows up to it.

A page is cut short where its events are large. What large values take is asked only of pages that hold some: to ask it
of each event takes the server two thirds as long again.
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
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.driver_errors import DIVERGED
from perdure.stores.postgres.event_rows import stored_events
from perdure.stores.postgres.inspection import Inspection
from perdure.stores.postgres.sql_files import Statements, fill_in

_NOTHING_SEEN = (None, None)
_SCAN_TIMEOUT = 3600.0
_SAMPLED_ROWS = 50_000
"""How many events are looked at from each end, whatever their type: to find all of a rare one, it would be the log."""


class Reader(PageReader):
    """Reads what is stored.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = Statements(Path(__file__).parent / "sql" / "reads", schema=database.quoted_schema)
        self._bounded: dict[tuple[str, str], str] = {}

    async def stream_page(self, stream_id: str, from_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly after `from_version`, oldest first."""
        async with self._database.connection() as connection:
            return await self.stream_page_in(connection, stream_id, from_version, limit)

    async def stream_page_in(
        self, connection: Connection, stream_id: str, from_version: int, limit: int | None
    ) -> list[StoredEvent]:
        """The same as a transaction of the caller's sees it."""
        rows = await connection.fetch(self._sql["read_stream"], stream_id, from_version, limit)
        return stored_events(rows)

    async def stream_page_backwards(self, stream_id: str, before_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly before `before_version`, newest first."""
        rows = await self._database.fetch(self._sql["read_stream_backwards"], stream_id, before_version, limit)
        return stored_events(rows)

    async def stream_version(self, stream_id: str) -> int:
        """The version of a stream, 0 if there is none."""
        return await self._database.fetch_value(self._sql["stream_version"], stream_id) or 0

    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """The event with that id, or None."""
        rows = await self._database.fetch(self._sql["read_event"], event_id)
        return stored_events(rows)[0] if rows else None

    async def stored_types(self) -> list[StoredType]:
        """Each type in each version that there is, sorted."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._sql["stored_types"], timeout=_SCAN_TIMEOUT)
        return [StoredType(*row) for row in rows]

    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """The first and the last event of a type and version, and others that stand near them in the log."""
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
        """A page of the log strictly after `from_position`: never beyond a gap that may still be filled."""
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
        """The events of the log strictly before `before_position`, newest first, beginning at the safe position."""
        safe, _ = await self._safe_position(_NOTHING_SEEN, up_to)
        name, arguments = await self._selection(0, min(before_position - 1, safe), limit, where, backwards=True)
        rows = await self._database.fetch(self._sql[name], *arguments)
        return stored_events(rows)

    async def _safe_position(self, seen: SeenEvent | tuple[None, None], up_to: int) -> tuple[int, int]:
        """The safe position, which lies at `up_to` or beyond, and the last that was drawn."""
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
            # Always an event's position, so that a checkpoint can name its event.
            return _page(rows) if rows else Page([], from_position, held_back)
        # Nothing that matches can come up to the safe position any more. The page ends at the last event before that,
        # of whatever kind, by which the log is known again.
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
        """The name of the statement that reads what matches, and its arguments."""
        if where.recorded_from is not None or where.recorded_before is not None:
            [(earliest, latest)] = await self._database.fetch(
                self._sql["recorded_positions"], where.recorded_from, where.recorded_before
            )
            after, last = max(after, earliest), min(last, latest)
        name, arguments = _statement(where, backwards=backwards)
        return name, [after, last, limit, *arguments]

    async def _page(self, name: str, limit: int, *arguments: object) -> tuple[list[asyncpg.Record], bool]:
        """The rows of a page, and whether it was cut short because of its size. It has one row, if there is any."""
        if limit == 1:
            return await self._database.fetch(self._sql[name], *arguments), False
        rows = await self._database.fetch(self._within("page_without_large", name), *arguments)
        small = _before_large(rows)
        if rows and not small:
            return await self._database.fetch(self._within("page_of_large", name), *arguments), True
        return small, len(small) < len(rows)

    def _within(self, around: str, name: str) -> str:
        """The statement `name` within another that bounds what its page takes."""
        key = around, name
        if key not in self._bounded:
            sizes = {"large": str(PAGE_BYTES // PAGE_SIZE // 2), "page_bytes": str(PAGE_BYTES)}
            self._bounded[key] = fill_in(self._sql[around], page=self._sql[name], **sizes)
        return self._bounded[key]


def _page(rows: list[asyncpg.Record]) -> Page:
    return Page(stored_events(rows), rows[-1]["global_position"])


def _before_large(rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return what comes before the first event that was left out for its size."""
    left_out = [values.index(None) for values in ([row[6] for row in rows], [row[7] for row in rows]) if None in values]
    return rows[: min(left_out)] if left_out else rows


def _contiguous(rows: list[asyncpg.Record], from_position: int) -> list[asyncpg.Record]:
    """What comes before the first gap."""
    for index, row in enumerate(rows):
        if row["global_position"] != from_position + index + 1:
            return rows[:index]
    return rows


def _statement(where: LogFilter, *, backwards: bool) -> tuple[str, list[Any]]:
    types = None if where.event_types is None else list(where.event_types)
    times = [where.recorded_from, where.recorded_before]
    way = "_backwards" if backwards else ""
    if where.correlation_id is not None:
        return f"read_log_of_correlation{way}", [where.correlation_id, where.category, types, *times]
    if backwards or times != [None, None]:
        if where.category is None:
            return f"read_log_between{way}", [types, *times]
        return f"read_log_of_category_between{way}", [where.category, types, *times]
    if where.category is None:
        return ("read_safe_log", []) if types is None else ("read_safe_log_of_types", [types])
    if types is None:
        return "read_safe_log_of_category", [where.category]
    return "read_safe_log_of_category_and_types", [where.category, types]

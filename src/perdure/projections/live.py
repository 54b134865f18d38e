"""`LiveProjection`: rows folded on demand, straight from the log, now or at any point of the past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from perdure.checks import check_function, check_instance, check_seconds
from perdure.children import ChildTable
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.live_fold import LiveFold, until_of
from perdure.store import EventStore

Row = TypeVar("Row")
Child = TypeVar("Child")


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
        self._definition = TableDefinition(projection)
        self._live = LiveFold(store, self._definition, timeout)

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
            InvalidArgumentError: `key` can't be a key of a row.
            ProjectionTimeoutError: the log can't be read up to the position, because of appends that are under way.
            Exception: whatever a handler raises.
        """
        one = self._definition.table.asked_key(key)
        rows = await self._live.rows(one, until_of(at_version, at_position, at_time))
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
        rows = await self._live.rows(None, until_of(None, at_position, at_time))
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
        one = self._definition.table.asked_key(key)
        rows = await self._live.rows(one, until_of(at_version, at_position, at_time))
        table = self._definition.children[name]
        return [table.codec.decode(row) for row in rows.get(table.name, {}).values()]

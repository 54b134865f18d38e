"""What code of users may raise that is no `Exception`, and projections that raise it wherever such code is called."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.children import ChildRows, child_table
from perdure.events import StoredEvent, handles
from perdure.projection import Projection, ProjectionTransaction, SQLProjection, TableProjection
from tests.projections.counting import Visited


class PanicException(BaseException):
    """As pyo3 declares it: a Rust extension that panics raises this, and it is no `Exception`."""


Raise = Callable[[], None]
"""Raises an exception while it is broken."""


class Odd:
    """Raises an error as long as it is broken."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error
        self.is_broken = True
        self.tries = 0

    def __call__(self, page: str = "bad") -> None:
        if page == "bad":
            self.tries += 1
            if self.is_broken:
                raise self.error("odd")


ODD: Sequence[type[BaseException]] = (PanicException, GeneratorExit, StopIteration, asyncio.CancelledError)


@dataclass
class Count:
    page: str
    visits: int = 0


@dataclass
class Viewer:
    page: str
    visitor: str


class Counts(TableProjection[Count], table="counts", key="page"):
    """Its handler raises."""

    def __init__(self, odd: Odd) -> None:
        self.odd = odd

    @handles
    def visited(self, event: Visited, row: Count | None) -> Count:
        self.odd(event.page)
        row = row or Count(event.page)
        row.visits += 1
        return row


class KeyedCounts(Counts, table="counts", key="page"):
    """What says its keys raises, and not its handler."""

    def keys(self, event: Any, at: StoredEvent) -> list[str]:
        self.odd(event.page)
        return [event.page]

    @handles
    def visited(self, event: Visited, row: Count | None) -> Count:
        row = row or Count(event.page)
        row.visits += 1
        return row


class ChildCounts(TableProjection[Count], table="counts", key="page"):
    """What says the keys of its child rows raises."""

    viewers = child_table(
        Viewer,
        table="viewers",
        key=("page", "visitor"),
        keys=lambda event: ChildCounts.child_keys(event.page, event.visitor),
    )
    odd: Odd

    def __init__(self, odd: Odd) -> None:
        type(self).odd = odd

    @classmethod
    def child_keys(cls, page: str, visitor: str) -> list[str]:
        cls.odd(page)
        return [visitor]

    @handles
    def visited(self, event: Visited, row: Count | None, viewers: ChildRows[Viewer]) -> Count:
        row = row or Count(event.page)
        row.visits += 1
        return row


class SQLCounts(SQLProjection, name="counts"):
    """A handler that writes first, then raises."""

    tables = {"counts": "create table {counts} (page text not null, visits bigint not null)"}

    def __init__(self, odd: Odd) -> None:
        self.odd = odd

    @handles
    async def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
        await tx.fetch("insert into {counts} values ($1, 1) returning page", event.page)
        self.odd(event.page)


class PlainSQLCounts(SQLProjection, name="counts"):
    """The same by a plain function."""

    tables = SQLCounts.tables

    def __init__(self, odd: Odd) -> None:
        self.odd = odd

    @handles
    def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
        tx.execute("insert into {counts} values ($1, 1)", event.page)
        self.odd(event.page)


class SinkCounts(Projection, name="counts"):
    """A sink whose table is counted, too."""

    tables = SQLCounts.tables
    event_types = (Visited,)

    def __init__(self, odd: Odd) -> None:
        self.odd = odd

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        tx.execute("insert into {counts} values ($1, 1)", event.event.page)
        self.odd(event.event.page)


class BatchCounts(SinkCounts, name="counts"):
    """The same for whole batches."""

    async def handle_batch(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        for event in events:
            await self.handle(event, tx)


KINDS: Sequence[Callable[[Odd], Any]] = (
    Counts,
    KeyedCounts,
    ChildCounts,
    SQLCounts,
    PlainSQLCounts,
    SinkCounts,
    BatchCounts,
)

"""What is asked of the rows of a projection, and the page of rows that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from perdure.store import EventStore
from perdure.transaction import Transaction

Row = TypeVar("Row")


@dataclass(frozen=True)
class RowPage(Generic[Row]):
    """A page of rows, as `TableProjection.find` returns it. It can be iterated, and has a length.

    Attributes:
        rows: The rows, in order.
        next: What to give to `find` as `after` for the rows that follow; None on the last page. It is text, fit for a
            URL. It isn't encrypted: it holds the values by which the last row is ordered.
    """

    rows: Sequence[Row]
    next: str | None = None

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of rows of this page."""
        return len(self.rows)


class RowQuery(NamedTuple):
    """The question of a `find`."""

    where: Mapping[str, object]
    order_by: object
    limit: int
    after: str | None
    at_position: int | None
    at_time: datetime | None
    tx: Transaction | None = None
    """The transaction in which the rows are read; None: on a connection of the pool."""

    @property
    def is_of_the_past(self) -> bool:
        """Whether it asks for rows as they were, which only the log knows."""
        return self.at_position is not None or self.at_time is not None


class RowReader(Protocol):
    """Reads rows of projections, by the class of a projection."""

    async def get(
        self,
        projection: type[Any],
        store: EventStore,
        key: object,
        /,
        *,
        at_position: int | None,
        at_time: datetime | None,
        tx: Transaction | None,
    ) -> Any:
        """Return the row of a key, or None."""
        ...

    async def find(
        self, projection: type[Any], store: EventStore, child: object | None, query: RowQuery, /
    ) -> RowPage[Any]:
        """Return a page of rows, or of rows of a child table."""
        ...


def row_reader() -> RowReader:
    """Return what reads rows. It is loaded by name, because it knows builds and engines, which are far above."""
    return cast("RowReader", import_module("perdure.projections.rows"))

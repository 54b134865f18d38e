"""A projection with everything in it, small enough to see through: visits of pages, and who came."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from perdure.children import ChildRows, child_table
from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection


@event("test.projections.visited")
class Visited:
    page: str
    visitor: str
    seconds: int = 1


@event("test.projections.moved")
class Moved:
    """Concerns two pages at once."""

    source: str
    target: str


@event("test.projections.closed")
class Closed:
    page: str


@event("test.projections.broken")
class Broken:
    """Fails as long as `Pages.broken` says so."""

    page: str


@event("test.projections.ignored")
class Ignored:
    page: str


@dataclass
class Page:
    page: str
    visits: int = 0
    visitors: int = 0
    seconds: int = 0
    last_visit: datetime | None = None
    path: list[str] = field(default_factory=list)


@dataclass
class Visitor:
    page: str
    visitor: str
    visits: int = 0


class Pages(TableProjection[Page], table="pages", key="page", version=1):
    visitors = child_table(Visitor, table="pages_visitors", key=("page", "visitor"))

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.tries = 0

    def keys(self, event: Any, at: StoredEvent) -> list[str]:
        return [event.source, event.target] if isinstance(event, Moved) else [event.page]

    @handles
    def visited(self, event: Visited, row: Page | None, at: StoredEvent, visitors: ChildRows[Visitor]) -> Page:
        row = row or Page(event.page)
        row.visits += 1
        row.seconds += event.seconds
        row.last_visit = at.timestamp
        visitor = visitors.get(event.visitor)
        if visitor is None:
            visitor = Visitor(event.page, event.visitor)
            row.visitors += 1
        visitor.visits += 1
        visitors.put(visitor)
        return row

    @handles
    def moved(self, event: Moved, row: Page | None) -> Page | None:
        if row is not None:
            row.path.append(f"{event.source}>{event.target}")
        return row

    @handles
    def closed(self, event: Closed, row: Page | None) -> Page | None:
        return None

    @handles
    def broken(self, event: Broken, row: Page | None) -> Page | None:
        self.tries += 1
        if row is not None:
            row.visits = -1
        if self.is_broken:
            raise RuntimeError("broken as asked")
        return row


@dataclass
class Total:
    page: str
    events: int = 0


class Totals(TableProjection[Total], table="totals", key="page", version=1):
    """Counts what others fail at."""

    @handles
    def happened(self, event: Visited | Broken, row: Total | None) -> Total:
        row = row or Total(event.page)
        row.events += 1
        return row

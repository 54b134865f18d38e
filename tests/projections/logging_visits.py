"""Projections that write by themselves: by SQL, and to a sink that is no part of the transaction."""

from collections.abc import Sequence
from typing import Any

from perdure.events import StoredEvent, handles
from perdure.projection import Projection, ProjectionTransaction, SQLProjection
from tests.projections.counting import Broken, Closed, Ignored, Moved, Visited

COUNT = """
    insert into {visit_counts} as c (page, visits, seconds, last_position) values ($1, 1, $2, $3)
    on conflict (page) do update
    set visits = c.visits + 1, seconds = c.seconds + excluded.seconds, last_position = excluded.last_position
"""


class VisitCounts(SQLProjection, name="visit_counts", version=1):
    """Plain and async handlers, a query that sees what was executed, two tables and an index."""

    tables = {
        "visit_counts": """
            create table {visit_counts} (
                page text primary key, visits bigint not null, seconds bigint not null, last_position bigint not null
            );
            create index on {visit_counts} (visits)
        """,
        "visit_trail": """
            create table {visit_trail} (
                number bigint generated always as identity, page text, visits bigint, tags text[] default '{visit}'
            )
        """,
    }

    def __init__(self) -> None:
        self.is_broken = False
        self.calls: list[int] = []

    @handles
    def visited(self, event: Visited, tx: ProjectionTransaction, at: StoredEvent) -> None:
        self.calls.append(at.global_position)
        tx.execute(COUNT, event.page, event.seconds, at.global_position)

    @handles
    async def moved(self, event: Moved, tx: ProjectionTransaction) -> None:
        visits = await tx.fetchval("select visits from {visit_counts} where page = $1", event.source)
        tx.execute("insert into {visit_trail} (page, visits) values ($1, $2)", event.source, visits)

    @handles
    async def closed(self, event: Closed, tx: ProjectionTransaction, at: StoredEvent) -> None:
        tx.execute("delete from {visit_counts} where page = $1", event.page)
        assert await tx.fetchrow("select from {visit_counts} where page = $1", event.page) is None
        assert await tx.fetch("select from {visit_counts} where page = $1", event.page) == []

    @handles
    async def broken(self, event: Broken, tx: ProjectionTransaction, at: StoredEvent) -> None:
        self.calls.append(at.global_position)
        tx.execute("delete from {visit_counts}")
        if self.is_broken:
            await tx.fetchval("select 1 / (select count(*) from {visit_counts})")


def counted(events: Sequence[StoredEvent]) -> tuple[dict[str, tuple[int, int, int]], list[tuple[str, int | None]]]:
    """What the tables of `VisitCounts` must hold after these events."""
    counts: dict[str, tuple[int, int, int]] = {}
    trail: list[tuple[str, int | None]] = []
    for stored in events:
        match stored.event:
            case Visited(page=page, seconds=seconds):
                visits, total, _ = counts.get(page, (0, 0, 0))
                counts[page] = (visits + 1, total + seconds, stored.global_position)
            case Moved(source=source):
                trail.append((source, counts[source][0] if source in counts else None))
            case Closed(page=page):
                counts.pop(page, None)
            case Broken():
                counts.clear()
            case _:
                assert isinstance(stored.event, Ignored)
    return counts, trail


async def counts_in(connection: Any) -> tuple[dict[str, tuple[int, int, int]], list[tuple[str, int | None]]]:
    rows = await connection.fetch("select * from visit_counts")
    trail = await connection.fetch("select page, visits from visit_trail order by number")
    return {row["page"]: tuple(row)[1:] for row in rows}, [tuple(row) for row in trail]


class Sink(Projection, name="sink"):
    """Writes to a list that no transaction undoes, and keeps a line in the database, which it does undo."""

    tables = {"sink_lines": "create table {sink_lines} (position bigint)"}

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.failing: set[int] = set()
        """The positions at which it fails."""

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        self.seen.append(event.global_position)
        tx.execute("insert into {sink_lines} values ($1)", event.global_position)
        if event.global_position in self.failing:
            raise ConnectionError("the sink is away")


class BatchSink(Sink, name="batch_sink"):
    """The same for whole batches."""

    event_types = (Visited, "test.projections.moved")

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []

    async def handle_batch(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        self.batches.append([event.global_position for event in events])
        for event in events:
            await self.handle(event, tx)


async def lines_in(connection: Any) -> list[int]:
    rows = await connection.fetch("select position from sink_lines order by position")
    return [row["position"] for row in rows]

"""What type checkers see of projections of all kinds. `make types` checks this file; nothing runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_type

from perdure import (
    ChildRows,
    InlineProjections,
    LiveProjection,
    PostgreSQLEventStore,
    Projection,
    ProjectionService,
    ProjectionTransaction,
    SQLProjection,
    StoredEvent,
    TableProjection,
    child_table,
    event,
    handles,
)


@event("typing.watched")
class Watched:
    title_id: str
    user_id: str


@dataclass
class Title:
    title_id: str
    views: int = 0


@dataclass
class Viewer:
    title_id: str
    user_id: str


class Popularity(TableProjection[Title], table="popularity", key="title_id", version=1):
    viewers = child_table(Viewer, table="popularity_viewers", key=("title_id", "user_id"))

    @handles
    def watched(self, event: Watched, row: Title | None, viewers: ChildRows[Viewer]) -> Title | None:
        row = row or Title(event.title_id)
        assert_type(viewers.get(event.user_id), Viewer | None)
        row.views += 1
        return row


class ViewsPerDay(SQLProjection, name="views_per_day", version=2):
    tables = {
        "views_per_day": "create table {views_per_day} (day date primary key, views bigint not null)",
        "days": "create table {days} (day date)",
    }

    @handles
    def counted(self, event: Watched, tx: ProjectionTransaction, at: StoredEvent) -> None:
        tx.execute("update {views_per_day} set views = views + 1 where day = $1", at.timestamp.date())

    @handles(Watched)
    async def looked_up(self, event: Watched, tx: ProjectionTransaction) -> None:
        assert_type(await tx.fetch("select 1"), list[Any])
        await tx.fetchrow("select 1 where $1", event.title_id == "a")
        views: int = await tx.fetchval("select sum(views) from {views_per_day}")
        tx.execute("delete from {days} where $1", views > 0)
        await tx.execute("a plain call")  # type: ignore[func-returns-value, misc] # pyright: ignore[reportGeneralTypeIssues] - the point: it is queued


class SearchIndex(Projection, name="search_index"):
    event_types = (Watched, "typing.renamed")

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        tx.execute("select 1")

    async def handle_batch(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        for one in events:
            await self.handle(one, tx)


class Synchronous(Projection, name="synchronous"):
    def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None: ...  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] - the point


class Parking(SQLProjection, name="parking", on_failure="park"):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportGeneralTypeIssues] - the point
    pass


async def run(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Popularity(), ViewsPerDay(), SearchIndex()], handler_timeout=5) as service:
        await service.wait_for("popularity", 1)
    ProjectionService(store, [Watched(title_id="a", user_id="b")])  # type: ignore[list-item] # pyright: ignore[reportArgumentType] - the point


async def look(store: PostgreSQLEventStore) -> None:
    live = LiveProjection(store, Popularity(), timeout=5)
    assert_type(live, LiveProjection[Title])
    assert_type(await live.get("a", at_version=3, at_time=datetime(2026, 1, 1, tzinfo=UTC)), Title | None)
    assert_type(await live.query(lambda row: row.views > 3, at_position=7), list[Title])
    assert_type(await live.child_rows(Popularity.viewers, "a"), list[Viewer])
    await live.query(lambda row: row.clicks > 3)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType] - the point
    LiveProjection(store, ViewsPerDay())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point


async def keep_inline(store: PostgreSQLEventStore) -> None:
    async with InlineProjections(store, [Popularity()], catch_up_timeout=60) as inline:
        assert_type(inline, InlineProjections)
        async with inline.transaction() as tx:
            await inline.append_to_stream("title-1", 0, [Watched(title_id="a", user_id="b")], tx=tx)
    InlineProjections(store, [ViewsPerDay()])  # type: ignore[list-item] # pyright: ignore[reportArgumentType] - the point

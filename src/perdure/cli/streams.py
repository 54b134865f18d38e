"""``perdure streams``: which streams there are, and what happened in one."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import Family, answering
from perdure.cli.failures import CommandError
from perdure.cli.report import Report
from perdure.cli.screen import Screen, count, second
from perdure.cli.session import Session
from perdure.cli.table import Cell, Column
from perdure.cli.views import EventView, type_cell
from perdure.events import StoredEvent, check_stream_id
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.inspection import Inspection, StreamSummary

_PAGE: Final = 50
_STREAM_COLUMNS: Final = (
    Column("stream"),
    Column("version", right=True),
    Column("last event"),
    Column("position", right=True),
    Column("recorded at", whole=True),
)
_EVENT_COLUMNS: Final = (
    Column("version", right=True),
    Column("position", right=True),
    Column("happened at", whole=True),
    Column("type"),
    Column("data"),
)


@click.group(cls=Family)
def streams() -> None:
    """Streams: which there are, and what happened in one."""


class StreamPage(msgspec.Struct):
    """What ``streams list`` finds."""

    streams: list[StreamSummary]
    more: bool


class StreamView(msgspec.Struct):
    """What ``streams show`` finds."""

    stream_id: str
    stream_version: int
    aggregate: str | None
    events: list[EventView]


@streams.command("list")
@click.option("--category", metavar="NAME", help="Only streams of this category.")
@click.option("--after", default="", metavar="STREAM", help="Begin after this stream.")
@click.option("--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@answering
async def list_streams(session: Session, category: str | None, after: str, limit: int) -> Report:
    """List streams in the order of their ids, each with its version and its last event."""
    async with session.store() as store:
        found = await Inspection(database_of(store)).streams(category, after=after, limit=limit + 1)
    page = StreamPage(found[:limit], len(found) > limit)

    def show(screen: Screen) -> None:
        if not page.streams:
            screen.line(f"No streams{f' of category {category!r}' if category else ''}{' any more' if after else ''}.")
            return
        screen.table(_STREAM_COLUMNS, map(_stream_row, page.streams))

    suggested = None
    if page.more:
        suggested = session.again(
            "streams list", category=category, limit=limit if limit != _PAGE else None, after=page.streams[-1].stream_id
        )
    return Report(page, show, next_command=suggested)


@streams.command("show")
@click.argument("stream")
@click.option("--from", "from_version", default=0, metavar="VERSION", type=click.IntRange(0), help="Begin after it.")
@click.option("--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@answering
async def show_stream(session: Session, stream: str, from_version: int, limit: int) -> Report:
    """Show the events of a STREAM, oldest first."""
    check_stream_id(stream)
    async with session.store() as store:
        version = await store.stream_version(stream)
        events = await store.read_stream(stream, from_version, limit)
    if not version:
        raise no_stream(stream)
    cls = session.application.aggregate_of(stream)
    aggregate = None if cls is None else f"{cls.__module__}.{cls.__qualname__}"
    view = StreamView(stream, version, aggregate, [EventView.of(stored) for stored in events])

    def show(screen: Screen) -> None:
        screen.fields([("stream", stream), ("version", count(version, "event")), ("aggregate", aggregate)])
        screen.line()
        screen.table(_EVENT_COLUMNS, map(_event_row, events))

    suggested = None
    if events and events[-1].stream_version < version:
        last = events[-1].stream_version
        suggested = session.again("streams show", stream, limit=limit if limit != _PAGE else None, **{"from": last})
    elif cls is not None:
        suggested = session.again("state", stream)
    return Report(view, show, next_command=suggested)


def no_stream(stream_id: str) -> CommandError:
    """The error for a stream that isn't there."""
    return CommandError(f"there is no stream {stream_id!r}", "perdure streams list")


def _stream_row(one: StreamSummary) -> tuple[str | Cell, ...]:
    position = str(one.global_position)
    return one.stream_id, str(one.stream_version), one.event_type, position, second(one.recorded_at)


def _event_row(stored: StoredEvent) -> tuple[str | Cell, ...]:
    version, position = str(stored.stream_version), str(stored.global_position)
    return version, position, second(stored.timestamp), type_cell(stored), stored.event_data

"""``perdure streams``: lists streams, and shows the events of one."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import CommandGroup, report_command
from perdure.cli.event_views import EventView, type_cell
from perdure.cli.failures import CommandError
from perdure.cli.report import CommandReport
from perdure.cli.screen import Screen, count, second
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.events import StoredEvent, check_stream_id
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.inspection import Inspection, StreamSummary

_PAGE: Final = 50
_STREAM_COLUMNS: Final = (
    TextColumn("stream"),
    TextColumn("version", right=True),
    TextColumn("last event"),
    TextColumn("position", right=True),
    TextColumn("recorded at", whole=True),
)
_EVENT_COLUMNS: Final = (
    TextColumn("version", right=True),
    TextColumn("position", right=True),
    TextColumn("happened at", whole=True),
    TextColumn("type"),
    TextColumn("data"),
)


@click.group(cls=CommandGroup)
def streams() -> None:
    """List streams, and show the events of one."""


class StreamPage(msgspec.Struct):
    """The result of ``streams list``."""

    streams: list[StreamSummary]
    more: bool


class StreamView(msgspec.Struct):
    """The result of ``streams show``."""

    stream_id: str
    stream_version: int
    aggregate: str | None
    events: list[EventView]
    more: bool


@streams.command("list")
@click.option("--category", metavar="NAME", help="Only streams of this category.")
@click.option("--after", default="", metavar="STREAM", help="Start after this stream.")
@click.option("--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@report_command
async def list_streams(session: CommandSession, category: str | None, after: str, limit: int) -> CommandReport:
    """List streams in the order of their ids, with their version and last event."""
    async with session.store() as store:
        found = await Inspection(database_of(store)).streams(category, after=after, limit=limit + 1)
    page = StreamPage(found[:limit], len(found) > limit)

    def show(screen: Screen) -> None:
        if not page.streams:
            screen.line(
                f"No streams{f' of category {category!r}' if category else ''}{f' after {after!r}' if after else ''}."
            )
            return
        screen.table(_STREAM_COLUMNS, map(_stream_row, page.streams))

    suggested = None
    if page.more:
        suggested = session.again(
            "streams list", category=category, limit=limit if limit != _PAGE else None, after=page.streams[-1].stream_id
        )
    return CommandReport(page, show, next_command=suggested)


@streams.command("show")
@click.argument("stream")
@click.option(
    "--from", "from_version", default=0, metavar="VERSION", type=click.IntRange(0), help="Start after this version."
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type. Repeat it for several.")
@click.option("--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@report_command
async def show_stream(
    session: CommandSession, stream: str, from_version: int, types: tuple[str, ...], limit: int
) -> CommandReport:
    """Show the events of a STREAM, oldest first."""
    check_stream_id(stream)
    async with session.store() as store:
        version = await store.stream_version(stream)
        found = await store.read_stream(stream, from_version, limit + 1, event_types=types or None)
    if not version:
        raise no_stream(stream)
    cls = session.application.aggregate_of(stream)
    aggregate = None if cls is None else f"{cls.__module__}.{cls.__qualname__}"
    events, more = found[:limit], len(found) > limit
    view = StreamView(stream, version, aggregate, [EventView.of(stored) for stored in events], more)

    def show(screen: Screen) -> None:
        screen.fields([("stream", stream), ("version", count(version, "event")), ("aggregate", aggregate)])
        screen.line()
        if events:
            screen.table(_EVENT_COLUMNS, map(_event_row, events))
        else:
            screen.line("No such events.")

    suggested = None
    if more:
        rest = {"limit": limit if limit != _PAGE else None, "from": events[-1].stream_version}
        suggested = session.again("streams show", stream, type=types, **rest)
    elif cls is not None:
        suggested = session.again("state", stream)
    return CommandReport(view, show, next_command=suggested)


def no_stream(stream_id: str) -> CommandError:
    """Return the error for a stream that doesn't exist."""
    return CommandError(f"there is no stream {stream_id!r}", "perdure streams list")


def _stream_row(one: StreamSummary) -> tuple[str | Cell, ...]:
    position = str(one.global_position)
    return one.stream_id, str(one.stream_version), one.event_type, position, second(one.recorded_at)


def _event_row(stored: StoredEvent) -> tuple[str | Cell, ...]:
    version, position = str(stored.stream_version), str(stored.global_position)
    return version, position, second(stored.timestamp), type_cell(stored), stored.event_data

"""``perdure events``: reads the log, follows it, and shows single events."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import click
import msgspec

from perdure.causation import CausedEvent
from perdure.checks import LARGEST_COUNT, LONGEST_TIME
from perdure.cli.command import CommandGroup, report_command, streaming_command
from perdure.cli.event_views import EVENT_COLUMNS, CausedView, DecodedView, EventView, event_row, show_tree
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.points import Moment, StartType
from perdure.cli.report import CommandReport
from perdure.cli.screen import BAD, STRONG, Screen, moment
from perdure.cli.session import CommandSession
from perdure.cli.signals import stop_requested
from perdure.events import StoredEvent
from perdure.log import Start
from perdure.log_reader import UP_TO_TIMEOUT
from perdure.store import EventStore
from perdure.subscription import Subscription

_PAGE: Final = 50


class EventPage(msgspec.Struct):
    """The result of ``events read``."""

    events: list[EventView]
    more: bool


class EventDetail(msgspec.Struct):
    """The result of ``events show``."""

    event: EventView
    reading: DecodedView
    causation_tree: list[CausedView]


@click.group(cls=CommandGroup)
def events() -> None:
    """Read the log, follow it, and show single events."""


_STREAM = click.option("--stream", "stream_id", metavar="STREAM", help="Only this stream.")
_CATEGORIES = click.option(
    "--category",
    "categories",
    multiple=True,
    metavar="NAME",
    help="Only streams of this category. Repeat it for several.",
)
_TYPES = click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only events of this type. Repeat it for several."
)


@events.command()
@click.option("--from", "from_position", metavar="POSITION", type=click.IntRange(0), help="Start after this position.")
@click.option("--backwards", is_flag=True, help="Newest first.")
@click.option("--before", metavar="POSITION", type=click.IntRange(0), help="Backwards, start before this position.")
@_STREAM
@_CATEGORIES
@_TYPES
@click.option("--correlation-id", metavar="ID", help="Only events with this correlation id.")
@click.option("--recorded-from", type=Moment(), help="Only events recorded at this time or later.")
@click.option("--recorded-before", type=Moment(), help="Only events recorded before this time.")
@click.option(
    "--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="At most so many events."
)
@click.option(
    "--up-to", metavar="POSITION", type=click.IntRange(0), help="Wait until the log is readable up to this position."
)
@click.option(
    "--timeout",
    default=UP_TO_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0, LONGEST_TIME),
    help="How long --up-to waits at most.",
)
@report_command
async def read(session: CommandSession, **given: Any) -> CommandReport:
    """Read a page of the log."""
    backwards, limit = given["backwards"] or given["before"] is not None, given["limit"]
    if backwards and given["from_position"] is not None:
        raise CommandError(
            "--from is for reading forwards; use --before to read backwards", "perdure events read --help", status=USAGE
        )
    where: Any = _selection(given) | {
        name: given[name] for name in ("correlation_id", "recorded_from", "recorded_before", "up_to", "timeout")
    }
    async with session.store() as store:
        if backwards:
            found = await store.read_all_events_backwards(given["before"], limit + 1, **where)
        else:
            found = await store.read_all_events(given["from_position"] or 0, limit + 1, **where)
    shown = found[:limit]
    page = EventPage([EventView.of(stored) for stored in shown], len(found) > limit)

    def show(screen: Screen) -> None:
        if shown:
            screen.table(EVENT_COLUMNS, map(event_row, shown))
        else:
            screen.line("No events.")

    return CommandReport(page, show, next_command=_next_page(session, given, shown) if page.more else None)


def _selection(given: dict[str, Any]) -> dict[str, Any]:
    """Return the filters that reading and following have in common, as the store takes them."""
    categories, types = list(given["categories"]) or None, list(given["types"]) or None
    return {"stream_id": given["stream_id"], "category": categories, "event_types": types}


def _next_page(session: CommandSession, given: dict[str, Any], shown: list[StoredEvent]) -> str:
    backwards = given["backwards"] or given["before"] is not None
    changed = {"before" if backwards else "from": shown[-1].global_position}
    limit = given["limit"] if given["limit"] != _PAGE else None
    which = {"stream": given["stream_id"], "category": given["categories"], "type": given["types"]}
    rest = {name: given[name] for name in ("correlation_id", "recorded_from", "recorded_before")}
    return session.again("events read", **which, **rest, limit=limit, **changed)


@events.command()
@click.option(
    "--last", default=10, show_default=True, type=click.IntRange(0, 100_000), help="Start with so many past events."
)
@click.option(
    "--from",
    "start",
    metavar="POINT",
    type=StartType(),
    help="Start after this position, at this time, or `now`, and not with past events.",
)
@_STREAM
@_CATEGORIES
@_TYPES
@click.option("--limit", default=LARGEST_COUNT, metavar="N", type=click.IntRange(1), help="End after so many events.")
@streaming_command
async def tail(session: CommandSession, last: int, start: Start | None, limit: int, **which: Any) -> None:
    """Follow the log: print the last events, then each new one, until Ctrl-C."""
    where: Any = _selection(which)
    async with session.store() as store, stop_requested() as stop:
        earlier: list[StoredEvent] = []
        if start is None:
            end = await store.read_all_events_backwards(max_count=1)
            start = end[0].global_position if end else 0
            earlier = await store.read_all_events_backwards(start + 1, min(last, limit), **where)
        for stored in reversed(earlier):
            _print_event(session, stored)
        left = limit - len(earlier)
        subscription = store.subscribe(start, **where)
        while left and (following := await _next_or_none(subscription, stop)):
            _print_event(session, following)
            left -= 1


async def _next_or_none(subscription: Subscription, stop: asyncio.Event) -> StoredEvent | None:
    """Return the next event; None once a stop is requested."""
    tasks = (asyncio.ensure_future(anext(subscription)), asyncio.ensure_future(stop.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() and not stop.is_set() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _print_event(session: CommandSession, stored: StoredEvent) -> None:
    session.answer(CommandReport(EventView.of(stored), lambda screen: screen.row(event_row(stored))))


@events.command()
@click.argument("event")
@click.option("--full", is_flag=True, help="Show all of the data, even if it is long.")
@report_command
async def show(session: CommandSession, event: str, *, full: bool) -> CommandReport:
    """Show one EVENT, given its id or position: as stored, as this code decodes it, with causes and effects."""
    async with session.store() as store:
        stored = await _found(store, event)
        if stored is None:
            raise CommandError(f"there is no event {event!r}", "perdure events read --backwards")
        correlation_id = stored.metadata.correlation_id
        trees = await store.causation_tree(correlation_id) if correlation_id else []
    reading = DecodedView.of(stored)
    detail = EventDetail(EventView.of(stored), reading, [CausedView.of(tree) for tree in trees])

    def show(screen: Screen) -> None:
        _show_detail(screen, stored, reading, full=full)
        if trees:
            _show_trees(screen, trees, stored)

    return CommandReport(detail, show, next_command=session.again("streams show", stored.stream_id))


async def _found(store: EventStore, event: str) -> StoredEvent | None:
    if event.isdecimal() and event.isascii():
        position = min(int(event), LARGEST_COUNT)
        page = await store.read_all_events(max(0, position - 1), 1)
        return page[0] if page and page[0].global_position == position else None
    try:
        return await store.read_event(UUID(event))
    except ValueError:
        raise CommandError(
            f"{event!r} is neither an event id nor a position", "perdure events read --backwards", status=USAGE
        ) from None


def _show_detail(screen: Screen, stored: StoredEvent, reading: DecodedView, *, full: bool) -> None:
    metadata = stored.metadata
    screen.fields(
        [
            ("event", f"{stored.event_type}, version {stored.event_version}"),
            ("event id", stored.event_id),
            ("stream", f"{stored.stream_id}, version {stored.stream_version}"),
            ("position", stored.global_position),
            ("happened at", moment(stored.timestamp)),
            ("recorded at", moment(stored.recorded_at)),
            ("correlation id", metadata.correlation_id),
            ("causation id", metadata.causation_id),
            ("user id", metadata.user_id),
            *((f"header {name}", value) for name, value in metadata.headers.items()),
            ("class", reading.event_class or "none in this code"),
        ]
    )
    screen.line("\nData", STRONG)
    screen.json(EventView.of(stored).data, in_full=full)
    if reading.problem is not None:
        screen.line("\nThis code can't decode it", f"{STRONG} {BAD}")
        screen.line(reading.problem)
    if reading.data is not None and reading.current_version != stored.event_version:
        screen.line(f"\nData as version {reading.current_version}", STRONG)
        screen.json(reading.data, in_full=full)


def _show_trees(screen: Screen, trees: list[CausedEvent], stored: StoredEvent) -> None:
    screen.line("\nEvents of the same request", STRONG)
    show_tree(screen, trees, stored.event_id)

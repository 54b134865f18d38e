"""``perdure state``: shows the state of an aggregate at a version, and compares two versions."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from perdure.aggregate import AggregateRoot
from perdure.cli.command import Command, report_command
from perdure.cli.difference import FieldChange, field_changes, show_difference
from perdure.cli.event_views import EVENT_COLUMNS, EventView, event_row
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.report import CommandReport
from perdure.cli.screen import Screen
from perdure.cli.session import CommandSession
from perdure.cli.streams import no_stream
from perdure.decider import Decided
from perdure.events import check_stream_id
from perdure.repository import Repository
from perdure.store import EventStore


class StateView(msgspec.Struct):
    """The state of an aggregate at a version."""

    stream_id: str
    stream_version: int
    aggregate: str
    state: Any


class StateDifference(msgspec.Struct):
    """The differences between two states of an aggregate, and the events between them."""

    before: StateView
    after: StateView
    changes: list[FieldChange]
    events: list[EventView]


@click.command(cls=Command)
@click.argument("stream")
@click.option(
    "--at", "version", metavar="N", type=click.IntRange(0), help="At this version, after so many events. Default: now."
)
@click.option("--diff", nargs=2, metavar="A B", type=click.IntRange(0), help="Compare two versions.")
@click.option("--full", is_flag=True, help="Show all of the state, even if it is long.")
@report_command
async def state(
    session: CommandSession, stream: str, version: int | None, diff: tuple[int, int] | None, *, full: bool
) -> CommandReport:
    """Show the state of an aggregate at any version, or compare two versions.

    STREAM is the stream of the aggregate, such as user-123.
    """
    check_stream_id(stream)
    if version is not None and diff is not None:
        raise CommandError("--at and --diff can't be combined", "perdure state --help", status=USAGE)
    cls = _aggregate_of(session, stream)
    async with session.store() as store:
        last = await store.stream_version(stream)
        if not last:
            raise no_stream(stream)
        for one in (version, *(diff or ())):
            if one is not None and one > last:
                raise CommandError(f"{stream!r} has only {last:,} events", f"perdure state {stream}", status=USAGE)
        if diff is None:
            return _state_report(session, await _state(store, cls, stream, last if version is None else version), full)
        before, after = [await _state(store, cls, stream, one) for one in diff]
        between = await store.read_stream(stream, min(diff), abs(diff[1] - diff[0]))
    difference = StateDifference(
        before, after, field_changes(before.state, after.state), [EventView.of(one) for one in between]
    )

    def show(screen: Screen) -> None:
        screen.table(EVENT_COLUMNS, map(event_row, between))
        screen.line()
        names = (f"after event {before.stream_version}", f"after event {after.stream_version}")
        if not show_difference(screen, (before.state, after.state), names):
            screen.line("The state is the same.")

    return CommandReport(difference, show)


def _aggregate_of(session: CommandSession, stream: str) -> type[AggregateRoot]:
    application = session.require_application()
    cls = application.aggregate_of(stream)
    if cls is None:
        known = ", ".join(application.categories) or "none"
        raise CommandError(
            f"the application has no aggregate for {stream!r}; the categories of its aggregates are: {known}",
            session.again("streams show", stream),
            status=USAGE,
        )
    return cls


async def _state(store: EventStore, cls: type[AggregateRoot], stream: str, version: int) -> StateView:
    aggregate_id = stream.partition("-")[2]
    aggregate = (await Repository(cls, store).load(aggregate_id, at_version=version) if version else None) or cls(
        aggregate_id
    )
    found: Any = vars(aggregate)["state"] if isinstance(aggregate, Decided) else vars(aggregate)
    plain = msgspec.to_builtins(found, str_keys=True, enc_hook=repr)
    return StateView(stream, aggregate.stream_version, f"{cls.__module__}.{cls.__qualname__}", plain)


def _state_report(session: CommandSession, view: StateView, full: bool) -> CommandReport:  # noqa: FBT001 - passed through
    def show(screen: Screen) -> None:
        fields = (("stream", view.stream_id), ("version", view.stream_version), ("aggregate", view.aggregate))
        screen.fields(fields)
        screen.line()
        screen.json(view.state, in_full=full)

    previous = view.stream_version - 1
    suggested = session.again("state", view.stream_id) + f" --diff {previous} {previous + 1}" if previous >= 0 else None
    return CommandReport(view, show, next_command=suggested)

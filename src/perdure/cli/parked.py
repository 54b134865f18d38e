"""``perdure parked``: lists, retries and skips parked events."""

from __future__ import annotations

from typing import Any, Final, get_args

import click
import msgspec

from perdure.checks import LONGEST_TIME
from perdure.cli.command import CommandGroup, report_command
from perdure.cli.failures import OK, PROBLEM, CommandError
from perdure.cli.report import CommandReport
from perdure.cli.screen import ATTENTION, BAD, GOOD, QUIET, STRONG, Screen, count, moment, second
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.projections.operations import ParkedEvent, ParkedState, ProjectionOperations, RetryOutcome
from perdure.projections.state.failures import FailureKind

_PAGE: Final = 50
_STYLES: Final = {"failed": BAD, "waiting": ATTENTION, "skipped": QUIET}
_COLUMNS: Final = (
    TextColumn("projection"),
    TextColumn("position", right=True),
    TextColumn("type"),
    TextColumn("key"),
    TextColumn("state", whole=True),
    TextColumn("tries", right=True),
    TextColumn("last try", whole=True),
    TextColumn("error"),
)


class ParkedPage(msgspec.Struct):
    """The result of ``parked list`` and ``parked show``."""

    parked: list[ParkedEvent]
    more: bool = False


class ParkedCount(msgspec.Struct):
    """How many parked events a command changed."""

    name: str
    count: int


class RetryReport(msgspec.Struct):
    """The result of ``parked retry``: how many events are retried, and with ``--wait`` what came of it."""

    name: str
    count: int
    outcome: RetryOutcome | None = None


@click.group(cls=CommandGroup)
def parked() -> None:
    """List, retry and skip parked events."""


_TYPE = click.option("--type", "event_type", metavar="TYPE", help="Only events of this type.")
_KIND = click.option("--kind", type=click.Choice(get_args(FailureKind)), help="Only failures of this kind.")
_KEY = click.option("--key", metavar="JSON", help="Only for the row with this key, as `parked list` shows it.")


@parked.command("list")
@click.argument("name", required=False)
@click.option(
    "--state",
    default="failed",
    show_default=True,
    type=click.Choice([*get_args(ParkedState), "all"]),
    help="Only parked events in this state.",
)
@_TYPE
@_KIND
@click.option(
    "--from", "from_position", default=0, metavar="POSITION", type=click.IntRange(0), help="Start after this position."
)
@click.option(
    "--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="At most so many events."
)
@report_command
async def list_parked(session: CommandSession, name: str | None, state: str, **given: Any) -> CommandReport:
    """List parked events, oldest first."""
    limit = given.pop("limit")
    states: Any = None if state == "all" else (state,)
    async with session.store() as store:
        found = await ProjectionOperations(store).parked(name, states=states, limit=limit + 1, **given)
    page = ParkedPage(found[:limit], len(found) > limit)

    def show(screen: Screen) -> None:
        if page.parked:
            screen.table(_COLUMNS, map(_row, page.parked))
        else:
            screen.line(f"No {'' if state == 'all' else f'{state} '}parked events.")

    return CommandReport(page, show, next_command=_advice(session, page.parked))


@parked.command("show")
@click.argument("name")
@click.argument("position", type=click.IntRange(1))
@report_command
async def show_parked(session: CommandSession, name: str, position: int) -> CommandReport:
    """Show why the event at POSITION is parked, with the traceback."""
    async with session.store() as store:
        found = await ProjectionOperations(store).parked(name, states=None, from_position=position - 1)
    here = [one for one in found if one.global_position == position]
    if not here:
        raise CommandError(
            f"no event at position {position} is parked for {name!r}", session.again("parked list", name, state="all")
        )

    def show(screen: Screen) -> None:
        for one in here:
            _show_one(screen, one)

    return CommandReport(ParkedPage(here), show, next_command=session.again("parked retry", name, position=position))


@parked.command()
@click.argument("name")
@click.option(
    "--position", "global_position", metavar="N", type=click.IntRange(1), help="Only the event at this position."
)
@_TYPE
@_KIND
@_KEY
@click.option("--wait", is_flag=True, help="Wait until each event is handled, or has failed again.")
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0, LONGEST_TIME),
    help="How long --wait waits at most.",
)
@report_command
async def retry(session: CommandSession, name: str, *, wait: bool, timeout: float, **which: Any) -> CommandReport:
    """Retry all parked events that failed, or only those that match. Events waiting behind them follow.

    The exit status is 1 if none matches, and with --wait, unless each of them is handled.
    """
    is_filtered = any(one is not None for one in which.values())
    async with session.store() as store:
        operations = ProjectionOperations(store)
        if wait:
            outcome = await operations.retry_and_wait(name, timeout=timeout, **which)
            if is_filtered and not outcome.asked:
                return _nothing_matches(session, name)
            return _outcome_report(session, name, outcome, timeout)
        number = await operations.retry(name, **which)
    if is_filtered and not number:
        return _nothing_matches(session, name)
    text = f"{count(number, 'event')} will be retried by the services that run {name}."
    follow = session.again("parked list", name) if number else None
    return CommandReport(RetryReport(name, number), lambda screen: screen.line(text), next_command=follow)


def _nothing_matches(session: CommandSession, name: str) -> CommandReport:
    """Return that there are no such failed events as the user asked for: a problem for the shell."""
    text = f"No failed event of {name} matches, so nothing is retried."
    follow = session.again("parked list", name)
    return CommandReport(RetryReport(name, 0), lambda screen: screen.line(text, BAD), PROBLEM, next_command=follow)


def _outcome_report(session: CommandSession, name: str, outcome: RetryOutcome, timeout: float) -> CommandReport:
    """Return what came of a retry; an error for the shell unless each event is handled."""

    def show(screen: Screen) -> None:
        style = GOOD if outcome.is_success else BAD
        screen.line(f"{name} has handled {outcome.handled} of {count(outcome.asked, 'retried event')}.", style)
        if outcome.withdrawn:
            screen.line(f"Skipped meanwhile, or of a deleted build: {outcome.withdrawn}.")
        if outcome.pending:
            screen.line(
                f"Not retried within {timeout:g} seconds: {outcome.pending}. "
                f"A service that runs {name} will retry {'it' if outcome.pending == 1 else 'them'}.",
                ATTENTION,
            )
        if outcome.failed:
            screen.line(f"\nParked, because the last try failed: {len(outcome.failed)}")
            screen.table(_COLUMNS, map(_row, outcome.failed))

    follow = _advice(session, [*outcome.failed]) or (session.again("projections status") if outcome.pending else None)
    return CommandReport(
        RetryReport(name, outcome.asked, outcome), show, OK if outcome.is_success else PROBLEM, next_command=follow
    )


@parked.command()
@click.argument("name")
@click.argument("position", type=click.IntRange(1))
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded with the action.")
@_KEY
@click.option("--yes", is_flag=True, help="Don't ask.")
@report_command
async def skip(
    session: CommandSession, name: str, position: int, reason: str, key: str | None, *, yes: bool
) -> CommandReport:
    """Leave the event at POSITION out of a projection for good. The event stays in the log."""
    again = session.again("parked skip", name, str(position), reason=reason, key=key)
    session.confirm(f"{name} will never show the event at position {position}.", yes=yes, command=again)
    async with session.store() as store:
        number = await ProjectionOperations(store).skip(name, position, reason, key=key)
    if not number:
        raise CommandError(
            f"the event at position {position} is neither parked for {name!r} nor the event that it is paused before",
            session.again("parked list", name, state="all"),
        )
    text = f"The event at position {position} is skipped, for {count(number, 'row')} of {name}."
    return CommandReport(ParkedCount(name, number), lambda screen: screen.line(text, GOOD))


def _row(one: ParkedEvent) -> tuple[str | Cell, ...]:
    error = f"{one.failure.error_type}: {one.failure.message}" if one.failure else "-"
    state = Cell(f"{one.state}, retry requested" if one.is_retry_requested else one.state, _STYLES[one.state])
    return (
        one.name,
        str(one.global_position),
        one.event_type,
        one.key or "-",
        state,
        str(one.attempts),
        second(one.failure.failed_at) if one.failure else "-",
        error,
    )


def _show_one(screen: Screen, one: ParkedEvent) -> None:
    screen.fields(
        [
            ("projection", f"{one.name}, version {one.version}, build {one.build}"),
            ("event", f"{one.event_type}, position {one.global_position}"),
            ("event id", one.event_id),
            ("stream", f"{one.stream_id}, version {one.stream_version}"),
            ("key", one.key or None),
            ("state", one.state),
            ("tried", f"{count(one.attempts, 'time')}{', retry requested' if one.is_retry_requested else ''}"),
            ("parked at", moment(one.parked_at)),
            ("last try", moment(one.failure.failed_at) if one.failure else None),
        ]
    )
    if one.failure is not None:
        screen.line(f"\n{one.failure.error_type}: {one.failure.message}", f"{STRONG} {BAD}")
        screen.line(one.failure.traceback, QUIET)


def _advice(session: CommandSession, found: list[ParkedEvent]) -> str | None:
    failed = [one for one in found if one.state == "failed"]
    return session.again("parked show", failed[0].name, str(failed[0].global_position)) if failed else None

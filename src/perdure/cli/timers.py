"""``perdure timers``: lists, counts and cancels the timers of processes."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click
import msgspec

from perdure.cli.command import CommandGroup, report_command
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import CommandReport
from perdure.cli.screen import ATTENTION, GOOD, Screen, moment, second, span
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.projections.timers.operations import ProcessTimer, TimerOperations, TimerStatus

OVERDUE: Final = 10.0
"""Seconds after which a timer that is due and hasn't fired needs attention."""
_PAGE: Final = 50
_TIMER_COLUMNS: Final = (
    TextColumn("due at", whole=True),
    TextColumn("process"),
    TextColumn("key"),
    TextColumn("timer"),
    TextColumn("state", whole=True),
    TextColumn("set by", whole=True),
)
_STATUS_COLUMNS: Final = (
    TextColumn("process"),
    TextColumn("timers", right=True),
    TextColumn("due", right=True),
    TextColumn("due for", right=True),
    TextColumn("next due", whole=True),
)


class TimerPage(msgspec.Struct):
    """The result of ``timers list``."""

    timers: list[ProcessTimer]
    more: bool = False


class TimerReport(msgspec.Struct):
    """The result of ``timers status``."""

    processes: list[TimerStatus]


class CancelledTimer(msgspec.Struct):
    """The result of ``timers cancel``."""

    name: str
    key: str
    timer: str
    due_at: datetime


@click.group(cls=CommandGroup)
def timers() -> None:
    """List, count and cancel the timers of processes."""


@timers.command("list")
@click.argument("name", required=False)
@click.option("--key", metavar="JSON", help="Only of the instance with this key, as `timers list` shows it.")
@click.option("--due", is_flag=True, help="Only those that are due.")
@click.option(
    "--limit", default=_PAGE, show_default=True, type=click.IntRange(1, 100_000), help="At most so many timers."
)
@report_command
async def list_timers(
    session: CommandSession, name: str | None, key: str | None, *, due: bool, limit: int
) -> CommandReport:
    """List the timers that are set, the next to fire first; all, or those of one process."""
    async with session.store() as store:
        found = await TimerOperations(store).timers(name, key=key, due=due or None, limit=limit + 1)
    page = TimerPage(found[:limit], len(found) > limit)

    def show(screen: Screen) -> None:
        if page.timers:
            screen.table(_TIMER_COLUMNS, map(_timer_row, page.timers))
        else:
            screen.line("No timers are due." if due else "No timers are set.")

    more = session.again("timers list", *([name] if name else []), key=key, limit=2 * limit) if page.more else None
    return CommandReport(page, show, next_command=more and (f"{more} --due" if due else more))


@timers.command()
@click.argument("name", required=False)
@report_command
async def status(session: CommandSession, name: str | None) -> CommandReport:
    """Show for each process how many timers are set, how many are due, and when the next one fires."""
    async with session.store() as store:
        found = await TimerOperations(store).status(name)
    late = [one for one in found if one.due_seconds >= OVERDUE]

    def show(screen: Screen) -> None:
        if found:
            screen.table(_STATUS_COLUMNS, map(_status_row, found))
        else:
            screen.line("No timers are set.")
        if late:
            screen.line("\nTimers fire while a service that runs a process is up: start one.", ATTENTION)

    return CommandReport(TimerReport(found), show, PROBLEM if late else OK, "perdure run" if late else None)


@timers.command()
@click.argument("name")
@click.argument("key")
@click.argument("timer")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded in the log.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@report_command
async def cancel(session: CommandSession, name: str, key: str, timer: str, reason: str, *, yes: bool) -> CommandReport:
    """Cancel TIMER of the instance KEY of process NAME, for all versions of the process."""
    again = session.again("timers cancel", name, key, timer, reason=reason)
    session.confirm(f"Timer {timer} of {name} {key} will never fire.", yes=yes, command=again)
    async with session.store() as store:
        due_at = await TimerOperations(store).cancel(name, key, timer, reason)
    text = f"Timer {timer} of {name} {key} is cancelled. It would have fired at {moment(due_at)}."
    return CommandReport(CancelledTimer(name, key, timer, due_at), lambda screen: screen.line(text, GOOD))


def _timer_row(one: ProcessTimer) -> tuple[str | Cell, ...]:
    state = Cell("due", ATTENTION) if one.is_due else Cell("set")
    return second(one.due_at), one.name, one.key, one.timer, state, str(one.set_by)


def _status_row(one: TimerStatus) -> tuple[str | Cell, ...]:
    style = ATTENTION if one.due_seconds >= OVERDUE else ""
    due = Cell(f"{one.due:,}", style), Cell(span(one.due_seconds) if one.due else "-", style)
    return one.name, f"{one.timers:,}", *due, second(one.next_due)

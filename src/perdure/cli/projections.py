"""``perdure projections``: shows, pauses, resumes and rebuilds projections."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import Final

import click
import msgspec

from perdure.cli.actions import actions
from perdure.cli.builds import cancel_rebuild, drop, rebuild, rollback, switch
from perdure.cli.command import CommandGroup, report_command, streaming_command
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import CommandReport
from perdure.cli.row import row
from perdure.cli.screen import ATTENTION, BAD, GOOD, QUIET, STRONG, Screen, count, moment, span
from perdure.cli.session import CommandSession
from perdure.cli.signals import stop_requested
from perdure.cli.table import Cell, TextColumn
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.builds import TableDifference
from perdure.projections.state.status import ProjectionStatus

STYLES: Final = {"running": GOOD, "paused": BAD, "stopped": ATTENTION, "never run": QUIET}
_LIST_COLUMNS: Final = (
    TextColumn("projection"),
    TextColumn("version", right=True),
    TextColumn("build", right=True),
    TextColumn("shown"),
    TextColumn("state"),
    TextColumn("position", right=True),
)
_STATUS_COLUMNS: Final = (
    TextColumn("projection", whole=True),
    TextColumn("state", whole=True),
    TextColumn("position", right=True),
    *[TextColumn(title, right=True) for title in ("lag", "behind", "rate", "left", "parked")],
    TextColumn("owner"),
)
_BAR: Final = 8


class ListedProjection(msgspec.Struct, kw_only=True):
    """A build of a projection, or a projection of the application that never ran."""

    name: str
    version: int
    state: str
    build: int | None = None
    is_shown: bool = False
    global_position: int | None = None


class ProjectionList(msgspec.Struct):
    """The result of ``projections list`` and ``projections status``."""

    projections: list[ListedProjection] | list[ProjectionStatus]


class ProjectionChange(msgspec.Struct):
    """A projection, and what was done to it."""

    name: str
    done: str


_REASON = click.option("--reason", metavar="TEXT", help="Why; it is recorded with the action.")


@click.group(cls=CommandGroup)
def projections() -> None:
    """Show, pause, resume and rebuild projections, and wait for them."""


for _one in (rebuild, cancel_rebuild, switch, rollback, drop, actions, row):
    projections.add_command(_one)


@projections.command("list")
@report_command
async def list_projections(session: CommandSession) -> CommandReport:
    """List the projections of the application and of the database."""
    async with session.store() as store:
        stored = await ProjectionOperations(store).status(kinds=("projection",))
    found = [
        ListedProjection(
            name=one.name,
            version=one.version,
            build=one.build,
            is_shown=one.is_shown,
            state=one.state,
            global_position=one.global_position,
        )
        for one in stored
    ]
    known = {(one.name, one.version) for one in stored}
    found += [
        ListedProjection(name=one.name, version=one.version, state="never run")
        for one in session.application.projections
        if (one.name, one.version) not in known
    ]

    def show(screen: Screen) -> None:
        if found:
            screen.table(_LIST_COLUMNS, map(_list_row, found))
        else:
            screen.line("No projections.")

    return CommandReport(ProjectionList(found), show)


@projections.command()
@click.argument("name", required=False)
@click.option("--full", is_flag=True, help="Include the traceback of the last error.")
@report_command
async def status(session: CommandSession, name: str | None, *, full: bool) -> CommandReport:
    """Show position, lag, rate, time left, owner and last error of projections."""
    async with session.store() as store:
        found = await ProjectionOperations(store).status(name, kinds=("projection",))
    failing = [one for one in found if one.failure is not None or one.failed]

    def show(screen: Screen) -> None:
        if not found:
            screen.line("No projections.")
        elif name is None:
            print_status(found, screen)
        else:
            for one in found:
                show_status(screen, one, full=full)

    return CommandReport(ProjectionList(found), show, PROBLEM if failing else OK, advice(session, failing, name))


@projections.command()
@click.argument("name", required=False)
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="How often to refresh.",
)
@streaming_command
async def watch(session: CommandSession, name: str | None, interval: float) -> None:
    """Show the status of projections again and again, until Ctrl-C."""
    live = _Live(session.screen) if session.screen.is_terminal and not session.json else None
    async with session.store() as store, stop_requested() as stop:
        operations = ProjectionOperations(store)
        with live or nullcontext():
            while not stop.is_set():
                found = await operations.status(name, kinds=("projection",))
                if live is not None:
                    live.update(found)
                else:
                    session.answer(CommandReport(ProjectionList(found), partial(print_status, found)))
                await _pause(stop, interval)


@projections.command()
@click.argument("name")
@_REASON
@report_command
async def pause(session: CommandSession, name: str, reason: str | None) -> CommandReport:
    """Pause a projection at its position, until it is resumed."""
    async with session.store() as store:
        await ProjectionOperations(store).pause(name, reason)
    resume = session.again("projections resume", name)
    return CommandReport(
        ProjectionChange(name, "paused"), lambda screen: screen.line(f"{name} is paused."), next_command=resume
    )


@projections.command()
@click.argument("name")
@_REASON
@report_command
async def resume(session: CommandSession, name: str, reason: str | None) -> CommandReport:
    """Resume a paused projection at the event that failed."""
    async with session.store() as store:
        await ProjectionOperations(store).resume(name, reason)
    follow = session.again("projections status", name)
    return CommandReport(
        ProjectionChange(name, "resumed"), lambda screen: screen.line(f"{name} is resumed."), next_command=follow
    )


@projections.command()
@click.argument("name")
@click.option(
    "--position", metavar="N", type=click.IntRange(0), help="The position to wait for. Default: the end of the log."
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="How long to wait at most.",
)
@report_command
async def wait(session: CommandSession, name: str, position: int | None, timeout: float) -> CommandReport:
    """Wait until a projection has processed the log up to a position."""
    async with session.store() as store:
        if position is None:
            last = await store.read_all_events_backwards(max_count=1)
            position = last[0].global_position if last else 0
        await ProjectionOperations(store).wait_for(name, position, timeout)
    reached = f"{name} has processed the log up to position {position}."
    return CommandReport(ProjectionChange(name, "reached"), lambda screen: screen.line(reached, GOOD))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


class _Live:
    """A status table that is redrawn in place on a terminal, with progress bars."""

    def __init__(self, screen: Screen) -> None:
        from rich.live import Live

        self._screen = screen
        self._live = Live(console=screen.console, auto_refresh=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def update(self, found: list[ProjectionStatus]) -> None:
        """Redraw the table."""
        from rich.console import Group

        columns = (*_STATUS_COLUMNS[:2], TextColumn("progress", whole=True), *_STATUS_COLUMNS[3:])
        rows = [[*row[:2], _bar(one), *row[3:]] for one in found for row in [_status_row(one)]]
        errors = [self._screen.styled_line(cells) for cells in _error_lines(found)]
        self._live.update(Group(*self._screen.table_lines(columns, rows), *errors), refresh=True)


def _bar(one: ProjectionStatus) -> Cell:
    done = int(one.progress * _BAR)
    return Cell("━" * done + "╌" * (_BAR - done), GOOD if done == _BAR else ATTENTION)


def print_status(found: list[ProjectionStatus], screen: Screen) -> None:
    """Print a line for each status, and the errors below."""
    screen.table(_STATUS_COLUMNS, map(_status_row, found))
    for cells in _error_lines(found):
        screen.cells(cells)


def _error_lines(found: list[ProjectionStatus]) -> list[list[Cell]]:
    errors = [(_title(one), _last_error(one)) for one in found]
    return [[Cell(f"{title}: ", BAD), Cell(error)] for title, error in errors if error is not None]


def _list_row(one: ListedProjection) -> tuple[str | Cell, ...]:
    build = "-" if one.build is None else str(one.build)
    position = "-" if one.global_position is None else str(one.global_position)
    state = Cell(one.state, STYLES[one.state])
    return one.name, str(one.version), build, "yes" if one.is_shown else "no", state, position


def _status_row(one: ProjectionStatus) -> list[str | Cell]:
    return [
        _title(one),
        Cell(one.state, STYLES[one.state]),
        str(one.global_position),
        Cell(f"{one.lag:,}", ATTENTION if one.lag else ""),
        span(one.lag_seconds) if one.lag else "-",
        f"{one.rate:,.0f}/s",
        span(one.time_left) if one.lag else "-",
        Cell(str(one.failed + one.waiting), BAD if one.failed else ""),
        ", ".join(one.owners) or "-",
    ]


def _title(one: ProjectionStatus) -> str:
    return one.name if one.is_shown else f"{one.name} v{one.version} build {one.build}, {one.stage}"


def _last_error(one: ProjectionStatus) -> str | None:
    if one.failure is not None:
        return f"{one.failure.error_type} at position {one.failure.global_position}: {one.failure.message}"
    return one.error


def show_status(screen: Screen, one: ProjectionStatus, *, full: bool) -> None:
    """Print all that is known of a projection or reaction."""
    row = [cell.text if isinstance(cell, Cell) else cell for cell in _status_row(one)]
    screen.fields(
        [
            (one.kind, one.name),
            ("version", f"{one.version}, build {one.build}{', shown' if one.is_shown else ', not shown'}"),
            ("state", one.state),
            ("position", one.global_position),
            ("lag", f"{one.lag:,} events, {row[4]}"),
            ("rate", row[5]),
            ("time left", row[6]),
            ("owner", row[8]),
            ("parked", f"{one.failed:,} failed, {one.waiting:,} waiting behind them, {one.skipped:,} skipped"),
            ("segments", f"{len(one.segments)}, {sum(segment.is_paused for segment in one.segments)} paused"),
            ("last error", one.error),
            *(("differs", _difference(difference)) for difference in one.differences),
        ]
    )
    if one.failure is not None:
        screen.line(f"\nPaused before position {one.failure.global_position}", f"{STRONG} {BAD}")
        screen.fields(
            [
                ("event", f"{one.failure.event_type}, {one.failure.stream_id} version {one.failure.stream_version}"),
                ("error", f"{one.failure.error_type}: {one.failure.message}"),
                ("tried", f"{count(one.failure.attempts, 'time')}, the last time at {moment(one.failure.failed_at)}"),
            ]
        )
        if full:
            screen.line(one.failure.traceback, QUIET)
    screen.line()


def _difference(one: TableDifference) -> str:
    rows = f"{count(one.differing, 'row')} of {one.table} ({one.rows:,} here, {one.expected_rows:,} in the shown build)"
    return f"{rows}, such as {', '.join(one.keys)}" if one.keys else rows


def advice(
    session: CommandSession, failing: list[ProjectionStatus], name: str | None, group: str = "projections"
) -> str | None:
    """Return the command that shows more of what is wrong; None if nothing is."""
    if not failing:
        return None
    first = min(failing, key=lambda one: one.failure is None)  # a paused projection before one that only parked events
    if name is None:
        return session.again(f"{group} status", first.name)
    if first.failure is not None:
        return session.again("events show", str(first.failure.global_position))
    return session.again("parked list", first.name)

"""``perdure check``: whether this code can read all stored events."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import Command, report_command
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import CommandReport
from perdure.cli.screen import BAD, GOOD, STRONG, Screen, count
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.errors import EvolutionError
from perdure.events import check_evolution
from perdure.evolution import CheckedType, EvolutionReport, examine_stored_events

_COLUMNS: Final = (
    TextColumn("type"),
    *[TextColumn(title, right=True) for title in ("version", "stored", "checked", "unreadable")],
)


class GateResult(msgspec.Struct):
    """What ``check`` finds."""

    passed: bool
    code: tuple[str, ...]
    """Problems of the code alone: upcasters that are missing, or that lead to no version."""
    types: tuple[CheckedType, ...]
    """The stored event types. Empty if the code alone has problems."""


@click.command(cls=Command)
@click.option(
    "--samples",
    default=100,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="How many of the oldest and how many of the newest events of each type to read.",
)
@click.option("--all", "every", is_flag=True, help="Read every stored event.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="TYPE",
    help="An event type that only other programs read. Repeat it for several.",
)
@report_command
async def check(session: CommandSession, samples: int, ignore: tuple[str, ...], *, every: bool) -> CommandReport:
    """Check that this code can read the stored events, before you deploy it.

    The check reads events of every stored type and version, and writes nothing. Run it with the new code against the
    production database.
    """
    session.require_application()
    try:
        check_evolution()
    except EvolutionError as error:
        return _report(session, error.problems, EvolutionReport(()))
    async with session.store() as store:
        found = await examine_stored_events(store, samples=None if every else samples, ignore=ignore)
    return _report(session, (), found)


def _report(session: CommandSession, code: tuple[str, ...], found: EvolutionReport) -> CommandReport:
    gate = GateResult(not code and not found.problems, code, found.types)

    def show(screen: Screen) -> None:
        if found.types:
            screen.table(_COLUMNS, map(_row, found.types))
        for problem in code:
            screen.line(f"- {problem}")
        for one in found.problems:
            screen.line(
                f"- {one.event_type} in version {one.event_version}, position {one.global_position}: {one.reason}"
            )
        if gate.passed:
            total = sum(one.checked for one in found.types)
            screen.line(f"PASSED: this code can read what is stored ({count(total, 'event')} checked).", GOOD)
        else:
            number = len(code) + len(found.problems)
            screen.line(f"FAILED: {count(number, 'problem')}.", f"{STRONG} {BAD}")

    suggested = None
    if found.problems:
        suggested = session.again("events show", str(found.problems[0].global_position))
    elif code:
        suggested = "perdure check"
    return CommandReport(gate, show, OK if gate.passed else PROBLEM, suggested)


def _row(one: CheckedType) -> tuple[str | Cell, ...]:
    unreadable = Cell(f"{one.unreadable:,}", BAD if one.unreadable else "")
    return one.event_type, str(one.event_version), f"{one.count:,}", f"{one.checked:,}", unreadable

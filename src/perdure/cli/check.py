"""``perdure check``: the evolution gate. Can this code read what is stored?"""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import Command, answering
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import Report
from perdure.cli.screen import BAD, GOOD, STRONG, Screen, count
from perdure.cli.session import Session
from perdure.cli.table import Cell, Column
from perdure.errors import EvolutionError
from perdure.events import check_evolution
from perdure.evolution import CheckedType, EvolutionReport, examine_stored_events

_COLUMNS: Final = (
    Column("type"),
    *[Column(title, right=True) for title in ("version", "stored", "checked", "unreadable")],
)


class Gate(msgspec.Struct):
    """What ``check`` finds."""

    passed: bool
    code: tuple[str, ...]
    """What the code alone shows: upcasters that are missing, or lead nowhere."""
    types: tuple[CheckedType, ...]
    """What is stored. Empty when the code alone shows problems."""


@click.command(cls=Command)
@click.option(
    "--samples",
    default=100,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="How many of the oldest, and of the newest events of each type are read.",
)
@click.option("--all", "every", is_flag=True, help="Read every event there is.")
@click.option("--ignore", multiple=True, metavar="TYPE", help="A type that other programs read; may be given again.")
@answering
async def check(session: Session, samples: int, ignore: tuple[str, ...], *, every: bool) -> Report:
    """Whether this code can read what is stored: the gate before a deployment.

    Every type is looked at, in every version, and nothing is written. Run it with the new code against the real
    database before you deploy.
    """
    session.require_application()
    try:
        check_evolution()
    except EvolutionError as error:
        return _report(session, error.problems, EvolutionReport(()))
    async with session.store() as store:
        found = await examine_stored_events(store, samples=None if every else samples, ignore=ignore)
    return _report(session, (), found)


def _report(session: Session, code: tuple[str, ...], found: EvolutionReport) -> Report:
    gate = Gate(not code and not found.problems, code, found.types)

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
    return Report(gate, show, OK if gate.passed else PROBLEM, suggested)


def _row(one: CheckedType) -> tuple[str | Cell, ...]:
    unreadable = Cell(f"{one.unreadable:,}", BAD if one.unreadable else "")
    return one.event_type, str(one.event_version), f"{one.count:,}", f"{one.checked:,}", unreadable

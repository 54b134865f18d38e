"""``perdure db``: the database schema, and other clients of the database."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from perdure import schema
from perdure.cli.clients import psql, url
from perdure.cli.command import CommandGroup, report_command
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import CommandReport
from perdure.cli.screen import ATTENTION, BAD, GOOD, QUIET, Screen, count
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.schema import Drift, Plan, PlannedMigration

_SECONDS: Final = click.FloatRange(0, min_open=True)
_PLAN_COLUMNS: Final = (
    TextColumn("migration"),
    TextColumn("statements", right=True),
    TextColumn("locking", right=True),
    TextColumn("online", right=True),
)


class Applied(msgspec.Struct):
    """The migrations that ``db apply`` applied."""

    applied: list[str]


class Renumbered(msgspec.Struct):
    """The new lock number of a schema."""

    namespace: int


class Script(msgspec.Struct):
    """The SQL script of ``db print``."""

    script: str


class Verified(msgspec.Struct):
    """The differences that ``db verify`` found."""

    drift: list[dict[str, Any]]


@click.group(cls=CommandGroup)
def db() -> None:
    """Maintain the database schema; open psql, or get the URL for other programs."""


db.add_command(url)
db.add_command(psql)


@db.command()
@report_command
async def plan(session: CommandSession) -> CommandReport:
    """Show the migrations that ``apply`` would apply. Changes nothing."""
    async with session.database() as (place, name):
        found = await schema.plan(place, schema=name)
    return CommandReport(
        _plan_data(found),
        lambda screen: _show_plan(screen, found),
        OK,
        "perdure db apply" if found.migrations else None,
    )


@db.command()
@click.option(
    "--lock-timeout",
    default=0.5,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="How long a migration waits for a lock at a time. Appends may wait that long behind it.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="When to give up on a migration that doesn't get its locks.",
)
@report_command
async def apply(session: CommandSession, lock_timeout: float, timeout: float) -> CommandReport:
    """Apply the missing migrations. Safe to repeat, and safe during appends."""
    async with session.database(make=True) as (place, name):
        applied = await schema.apply(place, schema=name, lock_timeout=lock_timeout, timeout=timeout)

    def show(screen: Screen) -> None:
        for one in applied:
            screen.line(f"applied {one}")
        screen.line(f"Schema {name!r} is as this version of Perdure needs it.", GOOD)

    return CommandReport(Applied(applied), show)


@db.command("print")
@click.option("--missing", is_flag=True, help="Only the migrations that the database lacks.")
@report_command
async def print_script(session: CommandSession, *, missing: bool) -> CommandReport:
    """Print the schema as SQL, to review it or to run it with psql. Changes nothing."""
    if missing:
        async with session.database() as (place, name):
            script = (await schema.plan(place, schema=name)).script
    else:
        script = schema.script(schema=session.schema)
    return CommandReport(Script(script), lambda screen: screen.text(script))


@db.command()
@report_command
async def verify(session: CommandSession) -> CommandReport:
    """Compare the schema with the one that the migrations create. Leaves nothing behind."""
    async with session.database() as (place, name):
        drift = await schema.verify(place, schema=name)
    data = Verified([one._asdict() for one in drift])
    return CommandReport(
        data,
        lambda screen: _show_drift(screen, name, drift),
        PROBLEM if drift else OK,
        "perdure db print" if drift else None,
    )


@db.command()
@click.option(
    "--lock-timeout",
    default=0.5,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="How long to wait for a lock at a time. Appends may wait that long behind it.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="When to give up if the locks can't be had.",
)
@report_command
async def renumber(session: CommandSession, lock_timeout: float, timeout: float) -> CommandReport:
    """Give a copied schema its own lock number, so that it can share a database with the original."""
    async with session.database() as (place, name):
        number = await schema.renumber(place, schema=name, lock_timeout=lock_timeout, timeout=timeout)
    return CommandReport(
        Renumbered(number),
        lambda screen: screen.line(f"Schema {name!r} has the lock number {number}, which no other schema uses.", GOOD),
    )


def _plan_data(plan: Plan) -> dict[str, Any]:
    return {
        "schema": plan.schema,
        "migrations": [
            {
                "number": one.number,
                "name": one.name,
                "statements": [statement._asdict() for statement in one.statements],
            }
            for one in plan.migrations
        ],
    }


def _show_plan(screen: Screen, plan: Plan) -> None:
    if not plan.migrations:
        screen.line(f"Schema {plan.schema!r} is as this version of Perdure needs it.", GOOD)
        return
    screen.table(_PLAN_COLUMNS, map(_plan_row, plan.migrations))
    screen.line(f"Schema {plan.schema!r} lacks {count(len(plan.migrations), 'migration')}.", ATTENTION)


def _plan_row(one: PlannedMigration) -> tuple[str | Cell, ...]:
    locking = sum(statement.is_locking for statement in one.statements)
    online = sum(statement.is_online for statement in one.statements)
    return one.name, str(len(one.statements)), Cell(str(locking), ATTENTION if locking else ""), str(online)


def _show_drift(screen: Screen, name: str, drift: list[Drift]) -> None:
    if not drift:
        screen.line(f"Schema {name!r} is exactly as the migrations create it.", GOOD)
        return
    for one in drift:
        screen.cells(
            [Cell(f"{one.kind:<10}  ", BAD), Cell(f"{one.object_type} {one.name}"), Cell(f": {one.advice}", QUIET)]
        )
    screen.line(f"Schema {name!r} differs in {count(len(drift), 'place')}.", BAD)

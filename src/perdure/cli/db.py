"""``perdure db``: the schema in the database."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from perdure import schema
from perdure.cli.command import Family, answering
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.report import Report
from perdure.cli.screen import ATTENTION, BAD, GOOD, QUIET, Screen, count
from perdure.cli.session import Session
from perdure.cli.table import Cell, Column
from perdure.schema import Drift, Plan, PlannedMigration

_SECONDS: Final = click.FloatRange(0, min_open=True)
_PLAN_COLUMNS: Final = (
    Column("migration"),
    Column("statements", right=True),
    Column("hold up others", right=True),
    Column("online", right=True),
)


class Applied(msgspec.Struct):
    """What ``db apply`` did."""

    applied: list[str]


class Renumbered(msgspec.Struct):
    """What ``db renumber`` did."""

    namespace: int


class Script(msgspec.Struct):
    """What ``db print`` prints."""

    script: str


class Verified(msgspec.Struct):
    """What ``db verify`` finds."""

    drift: list[dict[str, Any]]


@click.group(cls=Family)
def db() -> None:
    """The schema in the database: plan, apply, print, verify, renumber."""


@db.command()
@answering
async def plan(session: Session) -> Report:
    """What ``apply`` would do. Changes nothing."""
    async with session.database() as (url, name):
        found = await schema.plan(url, schema=name)
    return Report(
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
    help="How long appends may have to wait behind a migration that waits for a lock.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="After which time a migration that doesn't get its locks is given up.",
)
@answering
async def apply(session: Session, lock_timeout: float, timeout: float) -> Report:
    """Apply the missing migrations. Safe to repeat, and while others append."""
    async with session.database(make=True) as (url, name):
        applied = await schema.apply(url, schema=name, lock_timeout=lock_timeout, timeout=timeout)

    def show(screen: Screen) -> None:
        for one in applied:
            screen.line(f"applied {one}")
        screen.line(f"Schema {name!r} is as this version of Perdure needs it.", GOOD)

    return Report(Applied(applied), show)


@db.command("print")
@click.option("--missing", is_flag=True, help="Only what is missing in the database.")
@answering
async def print_script(session: Session, *, missing: bool) -> Report:
    """The schema as SQL, to be read, or run by psql. Changes nothing."""
    if missing:
        async with session.database() as (url, name):
            script = (await schema.plan(url, schema=name)).script
    else:
        script = schema.script(schema=session.schema)
    return Report(Script(script), lambda screen: screen.text(script))


@db.command()
@answering
async def verify(session: Session) -> Report:
    """Whether the schema is still what the migrations made of it. Leaves nothing behind."""
    async with session.database() as (url, name):
        drift = await schema.verify(url, schema=name)
    data = Verified([one._asdict() for one in drift])
    return Report(
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
    help="How long appends may have to wait behind it while it waits for a lock.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=_SECONDS,
    metavar="SECONDS",
    help="After which time it is given up when it doesn't get its locks.",
)
@answering
async def renumber(session: Session, lock_timeout: float, timeout: float) -> Report:
    """Give a copy of a schema locks of its own, so that it can stand beside its original."""
    async with session.database() as (url, name):
        number = await schema.renumber(url, schema=name, lock_timeout=lock_timeout, timeout=timeout)
    return Report(
        Renumbered(number),
        lambda screen: screen.line(
            f"The locks of schema {name!r} have number {number}, which no other schema has.", GOOD
        ),
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
        screen.line(f"Schema {name!r} is what the migrations made of it.", GOOD)
        return
    for one in drift:
        screen.cells(
            [Cell(f"{one.kind:<10}  ", BAD), Cell(f"{one.object_type} {one.name}"), Cell(f": {one.advice}", QUIET)]
        )
    screen.line(f"Schema {name!r} differs in {count(len(drift), 'place')}.", BAD)

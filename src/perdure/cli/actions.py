"""``perdure projections actions``: the record of what was done to projections."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import Command, answering
from perdure.cli.report import Report
from perdure.cli.screen import QUIET, Screen, second
from perdure.cli.session import Session
from perdure.cli.table import Cell, Column
from perdure.projections.operations import ProjectionAction, ProjectionOperations

_COLUMNS: Final = (
    Column("time", whole=True),
    Column("projection"),
    Column("version", right=True),
    Column("build", right=True),
    Column("action", whole=True),
    Column("by"),
    Column("reason"),
    Column("detail"),
)


class ActionList(msgspec.Struct):
    """What was done to projections, newest first."""

    actions: list[ProjectionAction]


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="As many at most.")
@answering
async def actions(session: Session, name: str | None, limit: int) -> Report:
    """What was done to them: when, by whom and why, newest first."""
    async with session.store() as store:
        operations = ProjectionOperations(store)
        found = await operations.actions(name, limit)
        if not found:
            await operations.status(name)  # tells when there is none of that name

    def show(screen: Screen) -> None:
        if found:
            screen.table(_COLUMNS, map(_row, found))
        else:
            screen.line("Nothing was done yet.")

    return Report(ActionList(found), show)


def _row(one: ProjectionAction) -> tuple[str | Cell, ...]:
    detail = "" if one.detail is None else msgspec.json.encode(one.detail).decode()
    named = one.name, str(one.version), str(one.build)
    return second(one.done_at), *named, one.action, one.actor, one.reason or "", Cell(detail, QUIET)

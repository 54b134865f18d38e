"""``perdure projections actions``: the log of actions on projections."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.command import Command, report_command
from perdure.cli.report import CommandReport
from perdure.cli.screen import QUIET, Screen, second
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.projections.operations import ProjectionAction, ProjectionOperations

_COLUMNS: Final = (
    TextColumn("time", whole=True),
    TextColumn("projection"),
    TextColumn("version", right=True),
    TextColumn("build", right=True),
    TextColumn("action", whole=True),
    TextColumn("by"),
    TextColumn("reason"),
    TextColumn("detail"),
)


class ActionList(msgspec.Struct):
    """Actions on projections, newest first."""

    actions: list[ProjectionAction]


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--limit", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@report_command
async def actions(session: CommandSession, name: str | None, limit: int) -> CommandReport:
    """List the actions on projections, newest first: when, by whom, and why."""
    async with session.store() as store:
        operations = ProjectionOperations(store)
        found = await operations.actions(name, limit)
        if not found:
            await operations.status(name)  # raises an error if no projection has that name

    def show(screen: Screen) -> None:
        if found:
            screen.table(_COLUMNS, map(_row, found))
        else:
            screen.line("No actions yet.")

    return CommandReport(ActionList(found), show)


def _row(one: ProjectionAction) -> tuple[str | Cell, ...]:
    detail = "" if one.detail is None else msgspec.json.encode(one.detail).decode()
    named = one.name, str(one.version), str(one.build)
    return second(one.done_at), *named, one.action, one.actor, one.reason or "", Cell(detail, QUIET)

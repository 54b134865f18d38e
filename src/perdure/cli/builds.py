"""``perdure projections rebuild``, ``switch``, ``rollback``, ``drop``: builds other than the shown one."""

from __future__ import annotations

from typing import Literal, get_args

import click
import msgspec

from perdure.cli.command import Command, report_command
from perdure.cli.report import CommandReport
from perdure.cli.screen import Screen
from perdure.cli.session import CommandSession
from perdure.projections.builds.operations import SwitchMode
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.status import ProjectionStatus

_Done = Literal["rebuilding", "cancelled", "switched", "rolled back", "dropped"]
_REASON = click.option("--reason", metavar="TEXT", help="Why; it is recorded with the action.")


class BuildChange(msgspec.Struct):
    """What was done with builds, and their status afterwards."""

    done: _Done
    builds: list[ProjectionStatus]


@click.command(cls=Command)
@click.argument("name")
@click.option("--segments", metavar="N", type=click.IntRange(1), help="Number of segments. Default: as many as now.")
@click.option(
    "--switch",
    default="automatic",
    show_default=True,
    type=click.Choice(get_args(SwitchMode)),
    help="Whether to switch to it automatically when it is complete and its rows are equal.",
)
@_REASON
@report_command
async def rebuild(
    session: CommandSession, name: str, segments: int | None, switch: SwitchMode, reason: str | None
) -> CommandReport:
    """Rebuild a projection beside its shown build. The services that run the projection do the work."""
    async with session.store() as store:
        build = await ProjectionOperations(store).rebuild(name, segments=segments, switch=switch, reason=reason)
    text = f"{_named(build)} is being built beside the shown build."
    return _report("rebuilding", [build], text, session.again("projections watch", name))


@click.command("cancel-rebuild", cls=Command)
@click.argument("name")
@_REASON
@click.option("--yes", is_flag=True, help="Don't ask.")
@report_command
async def cancel_rebuild(session: CommandSession, name: str, reason: str | None, *, yes: bool) -> CommandReport:
    """Cancel rebuilds of a projection, and drop their tables. The shown build stays."""
    again = session.again("projections cancel-rebuild", name, reason=reason)
    session.confirm(f"Unfinished builds of {name} will be dropped.", yes=yes, command=again)
    async with session.store() as store:
        builds = await ProjectionOperations(store).cancel_rebuild(name, reason)
    text = f"Cancelled: {', '.join(map(_named, builds))}."
    return _report("cancelled", builds, text, session.again("projections status", name))


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--version",
    metavar="N",
    type=click.IntRange(1),
    help="A build of this version. Default: the newest build that was never shown.",
)
@click.option("--build", metavar="N", type=click.IntRange(1), help="This build of the version.")
@_REASON
@report_command
async def switch(
    session: CommandSession, name: str, version: int | None, build: int | None, reason: str | None
) -> CommandReport:
    """Switch to another complete build, even if the comparison found differences."""
    async with session.store() as store:
        now = await ProjectionOperations(store).switch(name, version, build, reason)
    return _report("switched", [now], f"{_named(now)} is shown.", session.again("projections rollback", name))


@click.command(cls=Command)
@click.argument("name")
@_REASON
@report_command
async def rollback(session: CommandSession, name: str, reason: str | None) -> CommandReport:
    """Switch back to the build that was shown before. A second rollback undoes the first."""
    async with session.store() as store:
        now = await ProjectionOperations(store).rollback(name, reason)
    warning = "" if now.state == "running" else f"; it is {now.state}, so it falls behind"
    text = f"{_named(now)} is shown again, {now.lag:,} positions behind the log{warning}."
    return _report("rolled back", [now], text, session.again("projections status", name))


@click.command(cls=Command)
@click.argument("name")
@click.option("--version", metavar="N", type=click.IntRange(1), required=True, help="The version.")
@click.option(
    "--build", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="The build of that version."
)
@_REASON
@click.option("--yes", is_flag=True, help="Don't ask.")
@report_command
async def drop(
    session: CommandSession, name: str, version: int, build: int, reason: str | None, *, yes: bool
) -> CommandReport:
    """Drop a build that isn't shown, and its tables."""
    again = session.again("projections drop", name, version=version, build=build, reason=reason)
    what = f"{name} version {version} build {build}"
    session.confirm(f"{what} and its tables will be dropped.", yes=yes, command=again)
    async with session.store() as store:
        operations = ProjectionOperations(store)
        await operations.drop(name, version, build, reason)
        left = await operations.status(name)
    return _report("dropped", left, f"{what} is dropped.", session.again("projections status", name))


def _report(
    done: _Done,
    builds: list[ProjectionStatus],
    text: str,
    following: str,
) -> CommandReport:
    def show(screen: Screen) -> None:
        screen.line(text)

    return CommandReport(BuildChange(done, builds), show, next_command=following)


def _named(one: ProjectionStatus) -> str:
    return f"{one.name} version {one.version} build {one.build}"

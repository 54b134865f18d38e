"""``perdure projections rebuild``, ``switch``, ``rollback``, ``drop``: other builds beside what is shown."""

from __future__ import annotations

from typing import Literal, get_args

import click
import msgspec

from perdure.cli.command import Command, answering
from perdure.cli.report import Report
from perdure.cli.screen import Screen
from perdure.cli.session import Session
from perdure.projections.builds.operations import SwitchMode
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.status import ProjectionStatus

_Done = Literal["rebuilding", "cancelled", "switched", "rolled back", "dropped"]
_REASON = click.option("--reason", metavar="TEXT", help="Why, for the record.")


class BuildChange(msgspec.Struct):
    """What was done with builds, and how they are."""

    done: _Done
    builds: list[ProjectionStatus]


@click.command(cls=Command)
@click.argument("name")
@click.option("--segments", metavar="N", type=click.IntRange(1), help="Into how many pieces it is cut; else as now.")
@click.option(
    "--switch",
    default="automatic",
    show_default=True,
    type=click.Choice(get_args(SwitchMode)),
    help="Whether it is shown by itself, once it is complete and equal.",
)
@_REASON
@answering
async def rebuild(session: Session, name: str, segments: int | None, switch: SwitchMode, reason: str | None) -> Report:
    """Build a projection anew, beside what is shown, by whoever runs it."""
    async with session.store() as store:
        build = await ProjectionOperations(store).rebuild(name, segments=segments, switch=switch, reason=reason)
    text = f"{_named(build)} is being built beside what is shown."
    return _report("rebuilding", [build], text, session.again("projections watch", name))


@click.command("cancel-rebuild", cls=Command)
@click.argument("name")
@_REASON
@click.option("--yes", is_flag=True, help="Don't ask.")
@answering
async def cancel_rebuild(session: Session, name: str, reason: str | None, *, yes: bool) -> Report:
    """Give up what is being built, and drop it. What is shown stays."""
    again = session.again("projections cancel-rebuild", name, reason=reason)
    session.confirm(f"What is being built of {name} will be dropped.", yes=yes, command=again)
    async with session.store() as store:
        builds = await ProjectionOperations(store).cancel_rebuild(name, reason)
    text = f"Given up: {', '.join(map(_named, builds))}."
    return _report("cancelled", builds, text, session.again("projections status", name))


@click.command(cls=Command)
@click.argument("name")
@click.option("--version", metavar="N", type=click.IntRange(1), help="Of this version; else the newest never shown.")
@click.option("--build", metavar="N", type=click.IntRange(1), help="This build of it.")
@_REASON
@answering
async def switch(session: Session, name: str, version: int | None, build: int | None, reason: str | None) -> Report:
    """Show another build that is complete, whatever the comparison found."""
    async with session.store() as store:
        now = await ProjectionOperations(store).switch(name, version, build, reason)
    return _report("switched", [now], f"{_named(now)} is shown.", session.again("projections rollback", name))


@click.command(cls=Command)
@click.argument("name")
@_REASON
@answering
async def rollback(session: Session, name: str, reason: str | None) -> Report:
    """Show again what was shown before. Doing it twice comes back."""
    async with session.store() as store:
        now = await ProjectionOperations(store).rollback(name, reason)
    kept = "" if now.state == "running" else f"; it is {now.state}, so that it falls behind"
    text = f"{_named(now)} is shown again, {now.lag:,} positions behind the log{kept}."
    return _report("rolled back", [now], text, session.again("projections status", name))


@click.command(cls=Command)
@click.argument("name")
@click.option("--version", metavar="N", type=click.IntRange(1), required=True, help="Of this version.")
@click.option("--build", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="This build of it.")
@_REASON
@click.option("--yes", is_flag=True, help="Don't ask.")
@answering
async def drop(session: Session, name: str, version: int, build: int, reason: str | None, *, yes: bool) -> Report:
    """Drop a build that isn't shown, with its tables."""
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
) -> Report:
    def show(screen: Screen) -> None:
        screen.line(text)

    return Report(BuildChange(done, builds), show, next_command=following)


def _named(one: ProjectionStatus) -> str:
    return f"{one.name} version {one.version} build {one.build}"

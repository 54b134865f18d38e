"""``perdure reactions``: shows, pauses and resumes reactions, and has their events handled again."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from perdure.cli.actions import actions
from perdure.cli.command import CommandGroup, report_command
from perdure.cli.failures import OK, PROBLEM
from perdure.cli.parked import retry, show_parked, skip
from perdure.cli.projections import STYLES, advice, pause, print_status, resume, show_status
from perdure.cli.report import CommandReport
from perdure.cli.screen import BAD, GOOD, Screen, count
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.projections.operations import ProjectionOperations
from perdure.projections.replay import replay as replay_events
from perdure.projections.state.options import Kind
from perdure.projections.state.status import ProjectionStatus

_KINDS: Final[tuple[Kind, ...]] = ("reaction", "relay")
_COLUMNS: Final = (
    TextColumn("reaction"),
    TextColumn("state"),
    TextColumn("position", right=True),
    TextColumn("lag", right=True),
    TextColumn("parked", right=True),
)


class ListedReaction(msgspec.Struct, kw_only=True):
    """A reaction of the database, or one of the application that never ran."""

    name: str
    state: str
    global_position: int | None = None
    lag: int | None = None
    parked: int = 0


class ReactionList(msgspec.Struct):
    """The result of ``reactions list`` and ``reactions status``."""

    reactions: list[ListedReaction] | list[ProjectionStatus]


class Replayed(msgspec.Struct):
    """How many events a reaction handles again."""

    name: str
    count: int


@click.group(cls=CommandGroup)
def reactions() -> None:
    """Show, pause and resume reactions; retry, skip or replay their events."""


for _one in (pause, resume, show_parked, retry, skip, actions):
    reactions.add_command(_one)


@reactions.command("list")
@report_command
async def list_reactions(session: CommandSession) -> CommandReport:
    """List the reactions of the application and of the database."""
    async with session.store() as store:
        stored = await ProjectionOperations(store).status(kinds=_KINDS)
    found = [
        ListedReaction(
            name=one.name,
            state=one.state,
            global_position=one.global_position,
            lag=one.lag,
            parked=one.failed + one.waiting,
        )
        for one in stored
    ]
    known = {one.name for one in stored}
    found += [
        ListedReaction(name=one.name, state="never run")
        for one in session.application.reactions
        if one.name not in known
    ]

    def show(screen: Screen) -> None:
        if found:
            screen.table(_COLUMNS, map(_row, found))
        else:
            screen.line("No reactions.")

    return CommandReport(ReactionList(found), show)


@reactions.command()
@click.argument("name", required=False)
@click.option("--full", is_flag=True, help="Include the traceback of the last error.")
@report_command
async def status(session: CommandSession, name: str | None, *, full: bool) -> CommandReport:
    """Show position, lag, rate, owner, parked events and last error of reactions."""
    async with session.store() as store:
        found = await ProjectionOperations(store).status(name, kinds=_KINDS)
    failing = [one for one in found if one.failure is not None or one.failed]

    def show(screen: Screen) -> None:
        if not found:
            screen.line("No reactions.")
        elif name is None:
            print_status(found, screen)
        else:
            for one in found:
                show_status(screen, one, full=full)

    return CommandReport(
        ReactionList(found), show, PROBLEM if failing else OK, advice(session, failing, name, "reactions")
    )


@reactions.command()
@click.argument("name")
@click.option(
    "--from", "from_position", required=True, metavar="N", type=click.IntRange(0), help="Start after this position."
)
@click.option(
    "--to", "to_position", required=True, metavar="N", type=click.IntRange(1), help="The last position to replay."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is recorded with the action.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@report_command
async def replay(
    session: CommandSession, name: str, from_position: int, to_position: int, reason: str, *, yes: bool
) -> CommandReport:
    """Have a reaction handle events again, with the idempotency keys of the first time."""
    reaction = session.require_application().reaction(name)
    limits = {"from": str(from_position), "to": str(to_position)}
    again = session.again("reactions replay", name, **limits, reason=reason)
    question = f"{name} will handle its events from position {from_position + 1} to {to_position} again."
    session.confirm(question, yes=yes, command=again)
    async with session.store() as store:
        number = await replay_events(
            store, reaction, from_position=from_position, to_position=to_position, reason=reason
        )
    text = f"{count(number, 'event')} will be handled again by the services that run {name}."
    follow = session.again("reactions status", name) if number else None
    return CommandReport(Replayed(name, number), lambda screen: screen.line(text, GOOD), next_command=follow)


def _row(one: ListedReaction) -> tuple[str | Cell, ...]:
    position, lag = ("-" if number is None else f"{number:,}" for number in (one.global_position, one.lag))
    return (
        one.name,
        Cell(one.state, STYLES[one.state]),
        position,
        lag,
        Cell(f"{one.parked:,}", BAD if one.parked else ""),
    )

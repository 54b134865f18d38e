"""``perdure run``: runs projections and reactions until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import click
import msgspec

from perdure.cli.command import Command, streaming_command
from perdure.cli.failures import OK, PROBLEM, CommandError
from perdure.cli.report import CommandReport
from perdure.cli.session import CommandSession
from perdure.cli.signals import stop_requested


class RunState(msgspec.Struct):
    """A state that ``run`` reports: running, stopping, or stopped."""

    state: Literal["running", "stopping", "stopped"]
    projections: list[str]
    drained: bool | None = None
    """Once stopped: whether all running batches finished in time. The next run repeats those that did not."""


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--drain-timeout",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="How long running batches may take to finish.",
)
@streaming_command
async def run(session: CommandSession, names: tuple[str, ...], drain_timeout: float) -> CommandReport:
    """Run projections and reactions until Ctrl-C or SIGTERM.

    Runs those named, or all of the application's. On Ctrl-C, running batches and calls are finished first; a second
    Ctrl-C doesn't wait for them.
    """
    application = session.require_application()
    chosen = list(dict.fromkeys(names)) or [one.name for one in application.followers]
    if not chosen:
        raise CommandError("the application has neither projections nor reactions", "perdure doctor")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    async with stop_requested() as stop, session.store(migrate=None):
        service = application.projection_service(chosen, stop_timeout=drain_timeout)
        await service.start()
        try:
            _print_state(session, RunState("running", chosen), f"Running {', '.join(chosen)}. Ctrl-C stops.")
            await stop.wait()
            _print_state(
                session,
                RunState("stopping", chosen),
                "Stopping. Press Ctrl-C again to stop without waiting for running batches.",
            )
        finally:
            begin = asyncio.get_running_loop().time()
            await service.stop()
            drained = asyncio.get_running_loop().time() - begin < drain_timeout
    text = "all batches finished" if drained else "unfinished batches were rolled back, and will be repeated"
    state = RunState("stopped", chosen, drained)
    return CommandReport(state, lambda screen: screen.line(f"Stopped; {text}."), OK if drained else PROBLEM)


def _print_state(session: CommandSession, state: RunState, text: str) -> None:
    session.answer(CommandReport(state, lambda screen: screen.line(text)))

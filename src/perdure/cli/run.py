"""``perdure run``: projections, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import click
import msgspec

from perdure.cli.command import Command, answering_on_and_on
from perdure.cli.failures import OK, PROBLEM, CommandError
from perdure.cli.report import Report
from perdure.cli.session import Session
from perdure.cli.signals import stop_asked


class RunState(msgspec.Struct):
    """What ``run`` tells: that it runs, that it was told to stop, and how it ended."""

    state: Literal["running", "stopping", "stopped"]
    projections: list[str]
    drained: bool | None = None
    """Once stopped: whether the batches under way were finished in time. Else they are rolled back, and done again."""


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[PROJECTION]...")
@click.option(
    "--drain-timeout",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="How long the batches under way may take to finish.",
)
@answering_on_and_on
async def run(session: Session, names: tuple[str, ...], drain_timeout: float) -> Report:
    """Run projections until it is told to stop.

    All of the application's, or only those named, until Ctrl-C or SIGTERM. Then the batches under way are finished; a
    second Ctrl-C doesn't wait for them.
    """
    application = session.require_application()
    chosen = list(dict.fromkeys(names)) or [one.name for one in application.projections]
    if not chosen:
        raise CommandError("the application has no projections", "perdure doctor")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    async with stop_asked() as asked, session.store(migrate=None):
        service = application.projection_service(chosen, stop_timeout=drain_timeout)
        await service.start()
        try:
            _tell(session, RunState("running", chosen), f"Running {', '.join(chosen)}. Ctrl-C stops.")
            await asked.wait()
            _tell(session, RunState("stopping", chosen), "Stopping; Ctrl-C again doesn't wait for what is under way.")
        finally:
            begin = asyncio.get_running_loop().time()
            await service.stop()
            drained = asyncio.get_running_loop().time() - begin < drain_timeout
    text = "what was under way is finished" if drained else "what was under way took too long, and is done again later"
    state = RunState("stopped", chosen, drained)
    return Report(state, lambda screen: screen.line(f"Stopped; {text}."), OK if drained else PROBLEM)


def _tell(session: Session, state: RunState, text: str) -> None:
    session.answer(Report(state, lambda screen: screen.line(text)))

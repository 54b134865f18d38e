"""Makes an asynchronous function a command: runs it, prints its report or what went wrong, and ends with its status."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import click

from perdure.cli.failures import INTERRUPTED, NOBODY_READS, OK
from perdure.cli.report import Report
from perdure.cli.session import Session
from perdure.errors import PerdureError
from perdure.errors.mask import masked_text

Body = Callable[..., Coroutine[Any, Any, Report | None]]


class Command(click.Command):
    """A command, by whose name every misuse is told."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments of the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # some are raised without
            raise


class Family(click.Group):
    """Commands that belong together."""

    command_class = Command


def answering(function: Body) -> Callable[..., None]:
    """Make a command of a function that takes a `Session` and the command's parameters, and returns a `Report`."""
    return _answering(function, goes_on=False)


def answering_on_and_on(function: Body) -> Callable[..., None]:
    """The same for a function that answers by itself as long as it runs: in JSON, each answer is a line."""
    return _answering(function, goes_on=True)


def _answering(function: Body, *, goes_on: bool) -> Callable[..., None]:
    @click.option("--json", is_flag=True, help="Answer in JSON.")
    @click.pass_context
    @wraps(function)
    def command(ctx: click.Context, /, *, json: bool, **parameters: Any) -> None:
        path = ctx.command_path.partition(" ")[2]
        options = ctx.find_root().obj
        session = Session(options, path, json=json or options.json, goes_on=goes_on)
        try:
            ctx.exit(_run(function, session, parameters))
        except BrokenPipeError:
            # Whoever read our output has seen enough. What is left in the buffer must not fail at exit, too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(NOBODY_READS)

    return command


def _run(function: Body, session: Session, parameters: dict[str, Any]) -> int:
    try:
        report = asyncio.run(function(session, **parameters))
    except PerdureError as error:
        return session.fail(error)
    except BrokenPipeError:
        raise
    except asyncio.CancelledError:  # told to end, and told again
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - code of theirs or a bug of ours: told in full
        print(masked_text(traceback.format_exc()), end="", file=sys.stderr)  # noqa: T201 - as the traceback does
        return session.fail(error)
    if report is None:
        return OK
    session.answer(report)
    return report.status

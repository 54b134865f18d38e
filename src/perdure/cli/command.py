"""Turns asynchronous functions into commands: runs them, prints the report or error, and sets the exit status."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import click

from perdure.cli.failures import INTERRUPTED, OK, OUTPUT_CLOSED
from perdure.cli.report import CommandReport
from perdure.cli.session import CommandSession
from perdure.errors import PerdureError
from perdure.errors.mask import masked_text

CommandFunction = Callable[..., Coroutine[Any, Any, CommandReport | None]]


class Command(click.Command):
    """A click command whose usage errors name it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments of the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click raises some without a context
            raise


class CommandGroup(click.Group):
    """A group of commands, such as ``streams``."""

    command_class = Command


def report_command(function: CommandFunction) -> Callable[..., None]:
    """Make a command of a function that takes a `CommandSession` and options, and returns a `CommandReport`."""
    return _command(function, is_streaming=False)


def streaming_command(function: CommandFunction) -> Callable[..., None]:
    """Make a command of a function that prints reports while it runs. With ``--json``, each report is a line."""
    return _command(function, is_streaming=True)


def _command(function: CommandFunction, *, is_streaming: bool) -> Callable[..., None]:
    @click.option("--json", is_flag=True, help="Print JSON.")
    @click.pass_context
    @wraps(function)
    def command(ctx: click.Context, /, *, json: bool, **parameters: Any) -> None:
        path = ctx.command_path.partition(" ")[2]
        options = ctx.find_root().obj
        session = CommandSession(options, path, json=json or options.json, is_streaming=is_streaming)
        try:
            ctx.exit(_run(function, session, parameters))
        except BrokenPipeError:
            # The reader closed the pipe. Flushing the rest of the buffer at exit must not fail as well.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(OUTPUT_CLOSED)

    return command


def _run(function: CommandFunction, session: CommandSession, parameters: dict[str, Any]) -> int:
    try:
        report = asyncio.run(function(session, **parameters))
    except PerdureError as error:
        return session.fail(error)
    except BrokenPipeError:
        raise
    except asyncio.CancelledError:  # a second signal
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - an error of the application, or a bug: shown in full
        print(masked_text(traceback.format_exc()), end="", file=sys.stderr)  # noqa: T201 - as the traceback does
        return session.fail(error)
    if report is None:
        return OK
    session.answer(report)
    return report.status

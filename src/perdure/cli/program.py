"""The program itself: its options, its commands, and its exit status."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import click

from perdure.cli.failures import INTERRUPTED, OK, USAGE
from perdure.cli.options import Options


class _Place(NamedTuple):
    """Where a command is, and what it does."""

    module: str
    help: str


COMMANDS: Final = {
    "run": _Place("run", "Run projections until it is told to stop."),
    "streams": _Place("streams", "Streams: which there are, and what happened in one."),
    "events": _Place("events", "Events: read the log, follow it, look at one."),
    "state": _Place("state", "The state of an aggregate, now or after an event; two of them compared."),
    "projections": _Place("projections", "Projections: how they are, pause, resume, wait, rebuild."),
    "parked": _Place("parked", "Parked events: why they failed; retry or skip them."),
    "db": _Place("db", "The schema in the database: plan, apply, print, verify, renumber."),
    "check": _Place("check", "Whether this code can read what is stored: the gate before a deployment."),
    "doctor": _Place("doctor", "Settings and where they come from; whether all is well."),
}


class _Commands(click.Group):
    """Commands whose modules are imported when they are called, so that the program starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"perdure.cli.{COMMANDS[cmd_name].module}")
        return cast("click.Command", getattr(module, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--app", metavar="MODULE:NAME", help="The application. Or PERDURE_APP, or app in [tool.perdure].")
@click.option("--database", metavar="URL", help="Another database than the application's.")
@click.option("--schema", metavar="NAME", help="Another schema than the application's.")
@click.option("--json", is_flag=True, help="Answer in JSON; every command takes it, too.")
@click.version_option(package_name="perdure", message="%(version)s")
@click.pass_context
def program(ctx: click.Context, app: str | None, database: str | None, schema: str | None, *, json: bool) -> None:
    """Look at an event store, and run what keeps its read models.

    Exit status: 0, 1 when there is a problem, 2 when it was called wrongly. Every error ends with the next command
    to type.
    """
    ctx.obj = Options(app, database, schema, json=json)


def run(arguments: Sequence[str]) -> int:
    """Run a command, and return the exit status."""
    try:
        status = program.main(list(arguments), prog_name="perdure", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        return _fail(error, arguments)
    except click.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else OK


def _fail(error: click.ClickException, arguments: Sequence[str]) -> int:
    from perdure.cli.session import Session

    ctx = error.ctx if isinstance(error, click.UsageError) else None
    options = ctx.find_root().obj if ctx is not None else None
    command = ctx.command_path.partition(" ")[2] if ctx is not None else ""
    return Session(options or Options(), command, json="--json" in arguments).fail(error)

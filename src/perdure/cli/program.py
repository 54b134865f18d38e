"""The program: its options, its commands and its exit status."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import click

from perdure.cli.failures import INTERRUPTED, OK, USAGE
from perdure.cli.options import Options


class _CommandModule(NamedTuple):
    """The module of a command, and its line of help."""

    module: str
    help: str


COMMANDS: Final = {
    "run": _CommandModule("run", "Run projections and reactions until Ctrl-C or SIGTERM."),
    "streams": _CommandModule("streams", "List streams, and show the events of one."),
    "events": _CommandModule("events", "Read the log, follow it, and show single events."),
    "state": _CommandModule("state", "Show the state of an aggregate at any version, or compare two versions."),
    "projections": _CommandModule("projections", "Show, pause, resume and rebuild projections, and wait for them."),
    "reactions": _CommandModule("reactions", "Show, pause and resume reactions; retry, skip or replay their events."),
    "parked": _CommandModule("parked", "List, retry and skip parked events."),
    "timers": _CommandModule("timers", "List, count and cancel the timers of processes."),
    "db": _CommandModule("db", "Maintain the database schema; open psql, or get the URL for other programs."),
    "check": _CommandModule("check", "Check that this code can read the stored events, before you deploy it."),
    "doctor": _CommandModule("doctor", "Show the settings and their sources, and check the database."),
}


class _Commands(click.Group):
    """Imports the module of a command when it is called, so that the program starts quickly."""

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
@click.option("--database", metavar="URL", help="Use this database instead of the application's.")
@click.option("--schema", metavar="NAME", help="Use this schema instead of the application's.")
@click.option("--json", is_flag=True, help="Print JSON. Every command accepts it, too.")
@click.version_option(package_name="perdure", message="%(version)s")
@click.pass_context
def program(ctx: click.Context, app: str | None, database: str | None, schema: str | None, *, json: bool) -> None:
    """Inspect an event store, and run its projections and reactions.

    Exit status: 0 for success, 1 for a problem, 2 for wrong usage. Every error ends with the next command to type.
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
    from perdure.cli.session import CommandSession

    ctx = error.ctx if isinstance(error, click.UsageError) else None
    options = ctx.find_root().obj if ctx is not None else None
    command = ctx.command_path.partition(" ")[2] if ctx is not None else ""
    return CommandSession(options or Options(), command, json="--json" in arguments).fail(error)

"""``perdure db url`` and ``perdure db psql``: other clients of the database."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from perdure.cli.command import Command, report_command
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.psql import found_psql, psql_environment, run_psql
from perdure.cli.report import CommandReport
from perdure.cli.screen import QUIET, Screen
from perdure.cli.session import CommandSession
from perdure.cli.signals import stop_requested
from perdure.stores.postgres.connections.database_url import DatabaseURL
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL


class Access(msgspec.Struct):
    """How other programs reach the database."""

    url: str
    password_hidden: bool
    """Whether the URL lacks a password that is known."""
    passfile: str | None
    """The password file that the URL names. Other programs find it by PGPASSFILE."""


@click.command(cls=Command)
@click.option("--show-password", is_flag=True, help="Print the password in the URL.")
@click.option("--tcp", is_flag=True, help="The embedded server's port on 127.0.0.1, for programs without sockets.")
@click.option("--keep", is_flag=True, help="Keep the embedded server running until Ctrl-C.")
@report_command
async def url(session: CommandSession, *, show_password: bool, tcp: bool, keep: bool) -> CommandReport | None:
    """Print the URL of the database for other programs, without the password."""
    database = session.existing_database()
    if not isinstance(database, EmbeddedPostgreSQL):
        if tcp or keep:
            raise CommandError("--tcp and --keep are for the embedded PostgreSQL", "perdure db url", status=USAGE)
        return _report(_access(DatabaseURL.parse(database), show_password=show_password), "perdure db url")
    again = f"perdure db url{' --tcp' if tcp else ''}"
    async with EmbeddedPostgreSQL(database.directory, tcp=tcp) as server:
        access = _access(_address(server, tcp=tcp), show_password=show_password)
        socket = _socket(server)
        if keep:
            async with stop_requested() as stop:
                session.answer(_report(access, again))
                await stop.wait()
            return None
    if not socket.exists():
        raise CommandError(
            f"no program uses the embedded PostgreSQL in {database.directory}, so it isn't running, "
            "and each start gives it another URL: start your program first, or keep the server running",
            f"{again} --keep",
        )
    return _report(access, again)


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PSQL-ARGUMENT...]")
@report_command
async def psql(session: CommandSession, arguments: tuple[str, ...]) -> CommandReport:
    """Open psql on the database. What follows -- are arguments for psql, and its exit status is that of this command.

    The password is passed by the environment, where other users don't see it.
    """
    if session.json:
        raise CommandError("psql prints no JSON", "perdure db psql -- --csv", status=USAGE)
    program = found_psql()
    async with _reached(session.existing_database()) as (place, is_embedded):
        status = await run_psql(program, arguments, psql_environment(place, is_embedded=is_embedded))
    return CommandReport(None, lambda _: None, status)


@asynccontextmanager
async def _reached(database: str | EmbeddedPostgreSQL) -> AsyncGenerator[tuple[DatabaseURL, bool]]:
    if not isinstance(database, EmbeddedPostgreSQL):
        yield DatabaseURL.parse(database), False
        return
    async with database as server:
        yield DatabaseURL.parse(server.url), True


def _address(server: EmbeddedPostgreSQL, *, tcp: bool) -> DatabaseURL:
    if not tcp:
        return DatabaseURL.parse(server.url)
    if not server.has_tcp_port:
        raise CommandError(
            f"the embedded PostgreSQL in {server.directory} runs without a TCP port: "
            "end all programs that use it, start it with a port, then start them again",
            "perdure db url --tcp --keep",
        )
    url, passfile = server.tcp_url_for("postgres"), server.passfile
    return DatabaseURL.parse(url if passfile is None else f"{url}?passfile={quote(str(passfile))}")


def _socket(server: EmbeddedPostgreSQL) -> Path:
    place = DatabaseURL.parse(server.url).environment()
    return Path(place["PGHOST"], f".s.PGSQL.{place['PGPORT']}")


def _access(url: DatabaseURL, *, show_password: bool) -> Access:
    return Access(
        url.for_clients(password=show_password),
        url.has_secrets and not show_password,
        url.connection.get("passfile"),
    )


def _report(access: Access, again: str) -> CommandReport:
    def show(screen: Screen) -> None:
        screen.line(access.url)
        if access.password_hidden:
            # On the standard error, because the output may be an argument of another program.
            place = f"PGPASSFILE={access.passfile}" if access.passfile else f"{again} --show-password"
            Screen(sys.stderr).line(f"The URL has no secrets. To get them: {place}", QUIET)

    return CommandReport(access, show, next_command="perdure db psql")

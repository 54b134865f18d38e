"""The session of a command: its application, its store and its output."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property
from typing import cast

import click

from perdure.application import Application
from perdure.cli.discovery import ApplicationName, load_application, named_application
from perdure.cli.failures import USAGE, CommandError, message_of, next_command, status_of
from perdure.cli.options import Options
from perdure.cli.report import ENVELOPE_VERSION, CommandReport, Envelope, ErrorView, encode
from perdure.cli.screen import BAD, QUIET, STRONG, Screen
from perdure.cli.table import Cell
from perdure.errors import UnsupportedOperationError
from perdure.errors.mask import masked_text
from perdure.store import EventStore
from perdure.stores.connect import URL_VARIABLES, ChosenDatabase, ConnectSettings, choose_database, located_database
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL


class CommandSession:
    """One call of the command line.

    Args:
        options: the options before the command.
        command: the command, such as ``events read``.
        json: whether to print JSON.
        is_streaming: whether the command prints several reports, in JSON one per line.
    """

    def __init__(self, options: Options, command: str, *, json: bool, is_streaming: bool = False) -> None:
        self.options = options
        self.command = command
        self.json = json
        self.is_streaming = is_streaming
        self.screen = Screen()

    @cached_property
    def named(self) -> ApplicationName | None:
        """The name of the application and its source, or None."""
        return named_application(self.options.app)

    @cached_property
    def application(self) -> Application[EventStore]:
        """The application. If none is named, it has no aggregates and no projections."""
        return Application() if self.named is None else load_application(self.named)

    def require_application(self) -> Application[EventStore]:
        """Return the application. Raise CommandError if none is named."""
        if self.named is None:
            raise CommandError(
                f"{self.command!r} needs the application: name it by --app, the variable PERDURE_APP, "
                "or app in [tool.perdure] of pyproject.toml",
                f"perdure --app module:name {self.command}",
                status=USAGE,
            )
        return self.application

    @property
    def store_source(self) -> EventStore | ConnectSettings:
        """The store of the application, or the arguments for `connect`, with the changes that the options make."""
        source = self.application.store_source
        if isinstance(source, EventStore) and not self.options.database:
            return source
        settings = ConnectSettings(url=source) if isinstance(source, str) else ConnectSettings()
        if isinstance(source, dict):
            settings = source.copy()
        if self.options.database:
            settings["url"], settings["directory"], settings["direct_url"] = self.options.database, None, None
        if self.options.schema:
            settings["schema"] = self.options.schema
        return settings

    @property
    def schema(self) -> str:
        """The name of the schema that holds the store."""
        source = self.store_source
        return source.get("schema", "perdure") if isinstance(source, dict) else "perdure"

    def chosen_database(self, settings: ConnectSettings) -> ChosenDatabase:
        """Return the database that these settings and the environment choose."""
        chosen = choose_database(settings.get("url"), settings.get("directory"))
        if chosen.source in {"url", "directory"}:
            return chosen._replace(source="--database" if self.options.database else "the application")
        return chosen

    @asynccontextmanager
    async def store(self, *, migrate: bool | None = False) -> AsyncGenerator[EventStore]:
        """Open the application's store.

        Args:
            migrate: whether to apply missing migrations, and to create a missing embedded server; None: as the
                application says.

        Raises:
            CommandError: there is no database.
            PerdureError: the database can't be used.
        """
        source = self.store_source
        if not isinstance(source, EventStore) and migrate is not None:
            source["migrate"] = migrate
            if not migrate:
                self._check_there(source)
        async with self.application.connect(source) as store:
            try:
                database_of(store)
            except UnsupportedOperationError as error:
                other = f"perdure --database postgresql://user@host/database {self.command}"
                raise CommandError(str(error), other) from None
            yield store

    @asynccontextmanager
    async def database(self, *, make: bool = False) -> AsyncGenerator[tuple[str, str]]:
        """Yield the URL of the database, bypassing a pooler, and the name of the schema, whatever state they are in.

        Args:
            make: whether to create an embedded server if there is none.

        Raises:
            CommandError: the application made its store itself, so the URL and the schema aren't known.
            PerdureError: the database can't be used.
        """
        settings = self._connect_settings()
        if not make:
            self._check_there(settings)
        async with located_database(self.chosen_database(settings)) as (url, _):
            yield settings.get("direct_url") or url, self.schema

    def existing_database(self) -> str | EmbeddedPostgreSQL:
        """Return the URL of the database, bypassing a pooler, or the embedded server, which isn't started.

        Raises:
            CommandError: there is no database; or the application made its store itself.
        """
        settings = self._connect_settings()
        self._check_there(settings)
        database = self.chosen_database(settings).database
        return database if isinstance(database, EmbeddedPostgreSQL) else settings.get("direct_url") or database

    def confirm(self, question: str, *, yes: bool, command: str) -> None:
        """Ask for confirmation on the terminal before something is destroyed.

        Raises:
            CommandError: the answer is no; or there is no terminal, and ``--yes`` isn't given.
        """
        if yes:
            return
        if self.json or not (sys.stdin.isatty() and self.screen.is_terminal):
            raise CommandError(f"{question} There is no terminal to confirm this on", f"{command} --yes", status=USAGE)
        if not click.confirm(question):
            raise CommandError("nothing was done", f"perdure {self.command} --help")

    def next_command(self, command: str) -> str:
        """Return a command to type, with the options of the program unless it has its own."""
        begin, _, rest = command.partition(" ")
        full = begin == "perdure" and not rest.startswith("--")
        return masked_text(f"perdure{self.options.repeated()} {rest}" if full else command)

    def again(self, command: str, *arguments: str, **options: object) -> str:
        """Return a command of this program with arguments and options, except options that are None or empty."""
        words = [command, *map(shlex.quote, arguments)]
        for name, value in options.items():
            values = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
            for one in values:
                if one is not None:
                    text = one.isoformat() if isinstance(one, datetime) else str(one)
                    words.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
        return f"perdure {' '.join(words)}"

    def answer(self, report: CommandReport) -> None:
        """Print the report of a command."""
        suggested = self.next_command(report.next_command) if report.next_command else None
        if self.json:
            self._print(Envelope(ENVELOPE_VERSION, self.command, report.status, report.data, None, suggested))
            return
        report.show(self.screen)
        if suggested:
            _suggest(Screen(sys.stderr), suggested)

    def fail(self, error: BaseException) -> int:
        """Print an error and the command to type next. Return the exit status."""
        status, message = status_of(error), message_of(error)
        suggested = self.next_command(next_command(error, f"perdure {self.command}".rstrip()))
        if self.json:
            failure = ErrorView(type(error).__name__, message)
            self._print(Envelope(ENVELOPE_VERSION, self.command, status, None, failure, suggested))
            return status
        screen = Screen(sys.stderr)
        begin, *more = message.split("\n")
        screen.cells([Cell("Error: ", f"{STRONG} {BAD}"), Cell(begin)])
        for line in more:
            screen.line(line)
        _suggest(screen, suggested)
        return status

    def _print(self, envelope: Envelope) -> None:
        print(encode(envelope, in_one_line=self.is_streaming), flush=True)  # noqa: T201 - JSON is meant for programs

    def _connect_settings(self) -> ConnectSettings:
        settings = self.store_source
        if isinstance(settings, EventStore):
            raise CommandError(
                f"the application made its store itself: {settings!r}; name its database here",
                f"perdure --app {self.options.app} --database postgresql://user@host/database {self.command}",
                status=USAGE,
            )
        return settings

    def _check_there(self, source: ConnectSettings) -> None:
        database = self.chosen_database(source).database
        if isinstance(database, EmbeddedPostgreSQL) and not database.directory.exists():
            raise CommandError(
                f"there is no database: neither --database nor {' nor '.join(URL_VARIABLES)} names one, "
                f"and no embedded one is in {database.directory}",
                "perdure db apply",
            )


def _suggest(screen: Screen, command: str) -> None:
    # On the standard error, because the output may go to a file.
    screen.cells([Cell("Next: ", QUIET), Cell(command)])

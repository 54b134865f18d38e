"""The command line as people call it: within this process, or as a process of its own, with or without a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from examples.streaming.events import ContentAdded, ContentWatched
from examples.streaming.user import User
from perdure import ANY, Application, context

ROOT = Path(__file__).parents[2]
STREAMING = "examples.streaming:app"
COMMAND = [sys.executable, "-m", "perdure"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Call = Callable[..., Awaitable["Answer"]]


class Answer(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """What ``--json`` printed: one envelope, by which the exit status is told, too."""
        found = json.loads(self.out)
        check_envelope(found)
        assert found["status"] == self.status
        return dict(found)

    @property
    def data(self) -> Any:
        """The data in the envelope."""
        return self.envelope["data"]


def check_envelope(envelope: Mapping[str, Any]) -> None:
    """That it is of the documented form."""
    assert list(envelope) == ["version", "command", "status", "data", "error", "next"]
    assert envelope["version"] == 1
    assert isinstance(envelope["command"], str)
    assert envelope["status"] in (0, 1, 2)
    if envelope["error"] is not None:
        assert list(envelope["error"]) == ["error", "message"]
        assert envelope["data"] is None
        assert envelope["status"] != 0
        assert envelope["next"]


def environment(database_url: str | None, **more: str) -> dict[str, str]:
    """What a process is started with: nothing but the database says what to use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "DATABASE_URL"))}
    database = {"PERDURE_DATABASE_URL": database_url} if database_url else {}
    return kept | {"PYTHONPATH": str(ROOT)} | database | more


def start(*arguments: str, database_url: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command line as a process of its own. The caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def on_terminal(
    *arguments: str,
    database_url: str | None,
    columns: int = 80,
    variables: Mapping[str, str] | None = None,
    ended_by: signal.Signals | None = None,
) -> tuple[int, str]:
    """Run the command line on a terminal of that width, and return the exit status and all that it printed.

    One that goes on is sent the signal `ended_by` once it has printed something.
    """
    wanted = {"TERM": "xterm-256color"} | dict(variables or {})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    try:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={
                name: value
                for name, value in environment(database_url, **wanted).items()
                if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"} or name in wanted
            },
        )
        os.close(theirs)
        printed = b""
        with contextlib.suppress(OSError):  # how a terminal tells that nobody writes to it any more
            while piece := os.read(ours, 65536):
                printed += piece
                if ended_by is not None and b"\n" in printed:
                    process.send_signal(ended_by)
                    ended_by = None
        return process.wait(), printed.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


def plain(printed: str) -> str:
    """What was printed, without its colours and movements."""
    return CONTROL.sub("", printed).replace("\r", "\n")


async def fill(database_url: str) -> None:
    """Some events of the reference application, in an order that tests rely on."""
    app = Application(database_url, aggregates=[User])
    async with app.connect() as store:
        users = app.repository(User)
        with context(correlation_id="request-1", user_id="ann", headers={"host": "web-1"}):
            await users.execute("1", lambda user: user.register("john@example.com", "John Doe", ["drama"]))
        registered = await store.last_event("user-1")
        assert registered is not None
        with context(correlation_id="request-1", causation_id=registered.event_id):
            await users.execute("1", lambda user: user.subscribe_to_plan("premium", "credit_card"))
        await users.execute("2", lambda user: user.register("jane@example.com", "Jane Roe", []))
        added = ContentAdded(content_id="1", title="Heat", genres=["crime"])
        await store.append_to_stream("content-1", ANY, [added])
        watched = ContentWatched(content_id="1", user_id="1", watch_duration_seconds=60, completion_percentage=50.0)
        await store.append_to_stream("content-1", ANY, [watched])
        await users.execute("1", lambda user: user.update_preferences(["drama", "crime"]))

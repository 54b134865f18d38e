"""Errands: work in another user's folder, which root has done by a process that is that user.

What that user put in the folder can then lead the process nowhere where he couldn't go himself. The process drops its
rights before it touches the folder, once it has imported all it needs, for Python may lie where he can't read. As
it was root's, he can neither trace nor read it. It ends when we do.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import perdure.errors
from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded.account import Account

_PROGRAM: Final = """
import sys
sys.path[:] = sys.argv[2:]
from perdure.stores.postgres.embedded.errands import main
main(int(sys.argv[1]))
"""
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "TMPDIR")
_SOURCES: Final = str(Path(perdure.errors.__file__).parents[2])


class Answer(NamedTuple):
    """What an errand brought back."""

    text: str | None
    fd: int | None
    """An open file, which the caller closes."""


class UnlistedUserError(EmbeddedServerError):
    """`initdb` refuses a user that the system doesn't list; root can make the data directory for him."""


async def send(account: Account, errand: str, request: Mapping[str, Any], fd: int | None = None) -> Answer:
    """Have an errand done as another user; it gets the open file, too.

    Raises:
        EmbeddedServerError: it failed.
        UnlistedUserError: it must make a data directory first, and can't.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _start(theirs, fd)
        full = {"errand": errand, "uid": account.uid, "gid": account.gid, "name": account.name, "fd": fd, **request}
        talking = asyncio.ensure_future(asyncio.to_thread(_talk, ours, json.dumps(full), process))
        try:
            answer, sent = await asyncio.shield(talking)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # by which it knows that we are gone
            _, sent = await talking
            if sent is not None:
                os.close(sent)
            raise
    if answer.get("error") is None:
        return Answer(answer.get("text"), sent)
    raise (UnlistedUserError if answer.get("unlisted") else EmbeddedServerError)(answer["error"])


def _start(theirs: socket.socket, fd: int | None) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise EmbeddedServerError("root's embedded PostgreSQL needs to know where Python is: sys.executable is empty")
    path = [*(entry for entry in sys.path if Path(entry).is_absolute()), _SOURCES]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _PROGRAM, str(theirs.fileno()), *path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.defpath} | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        start_new_session=True,  # out of reach of our terminal's Ctrl-C
        pass_fds=(theirs.fileno(),) if fd is None else (theirs.fileno(), fd),
    )


def _talk(ours: socket.socket, request: str, process: subprocess.Popen[bytes]) -> tuple[dict[str, Any], int | None]:
    answer, sent = b"", array.array("i")
    with contextlib.suppress(OSError):  # it died: see below
        ours.sendall(f"{request}\n".encode())
        while not answer.endswith(b"\n"):
            piece, fds, _, _ = socket.recv_fds(ours, 65536, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            sent.extend(fds)
            if not piece:
                break
            answer += piece
    _, complaint = process.communicate()
    fd = sent[0] if sent else None
    if answer.endswith(b"\n"):
        return dict(json.loads(answer)), fd
    last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
    return {"error": f"what root started as another user failed: {last[0]}"}, fd

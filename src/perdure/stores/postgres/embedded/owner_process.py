"""Runs actions in a folder as its owner: root starts a process that becomes that user.

Links in the folder then can't lead root's rights anywhere that the owner couldn't go. The process drops its rights
before it touches the folder, but after its imports, because the owner may not be able to read Python's files. As the
process was started by root, the owner can't trace or read it. It ends when its parent ends.
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
from perdure.stores.postgres.embedded.owner_actions import main
main(int(sys.argv[1]))
"""
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "TMPDIR")
_SOURCES: Final = str(Path(perdure.errors.__file__).parents[2])


class ActionResult(NamedTuple):
    """The result of an action in the process of the owner."""

    text: str | None
    fd: int | None
    """An open file descriptor, which the caller closes."""


class UnlistedUserError(EmbeddedServerError):
    """`initdb` refuses a user that /etc/passwd doesn't list. Root can create the data directory for that user."""


async def run_as_owner(owner: Account, action: str, request: Mapping[str, Any], fd: int | None = None) -> ActionResult:
    """Run an action as the owner. `fd` is an open file descriptor that the action gets.

    Raises:
        EmbeddedServerError: the action failed.
        UnlistedUserError: the action can't create the data directory as this user.
    """
    parent, child = socket.socketpair()
    with parent:
        with child:
            process = _start(child, fd)
        full = {"action": action, "uid": owner.uid, "gid": owner.gid, "name": owner.name, "fd": fd, **request}
        exchange = asyncio.ensure_future(asyncio.to_thread(_exchange, parent, json.dumps(full), process))
        try:
            answer, sent = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                parent.shutdown(socket.SHUT_RDWR)  # tells the process that its caller is gone
            _, sent = await exchange
            if sent is not None:
                os.close(sent)
            raise
    if answer.get("error") is None:
        return ActionResult(answer.get("text"), sent)
    raise (UnlistedUserError if answer.get("unlisted") else EmbeddedServerError)(answer["error"])


def _start(child: socket.socket, fd: int | None) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise EmbeddedServerError("root can't start a process for the embedded PostgreSQL: sys.executable is empty")
    path = [*(entry for entry in sys.path if Path(entry).is_absolute()), _SOURCES]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _PROGRAM, str(child.fileno()), *path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.defpath} | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        start_new_session=True,  # so that Ctrl-C doesn't reach it
        pass_fds=(child.fileno(),) if fd is None else (child.fileno(), fd),
    )


def _exchange(
    parent: socket.socket, request: str, process: subprocess.Popen[bytes]
) -> tuple[dict[str, Any], int | None]:
    answer, sent = b"", array.array("i")
    with contextlib.suppress(OSError):  # it died; handled below
        parent.sendall(f"{request}\n".encode())
        while not answer.endswith(b"\n"):
            piece, fds, _, _ = socket.recv_fds(parent, 65536, 1, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
            sent.extend(fds)
            if not piece:
                break
            answer += piece
    _, complaint = process.communicate()
    fd = sent[0] if sent else None
    if answer.endswith(b"\n"):
        return dict(json.loads(answer)), fd
    last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
    return {"error": f"the process that root started as another user failed: {last[0]}"}, fd

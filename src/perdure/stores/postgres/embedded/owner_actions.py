"""The actions that run in the process of an owner, and its main function. See `owner_process`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures.thread import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.files import Folder
from perdure.stores.postgres.embedded.launch import Launch
from perdure.stores.postgres.embedded.location import create_folder, record_location
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.owner_process import ActionResult, UnlistedUserError
from perdure.stores.postgres.embedded.shared_server import join, leave

_Request = dict[str, Any]
_Action = Callable[[_Request], Awaitable[ActionResult]]

# The event loop imports this lazily, but after the rights are dropped, it may not be readable.
_NEEDED: Final = (ThreadPoolExecutor,)


def main(channel: int) -> None:
    """Read a request, become its user, run the action and send the result."""
    with socket.socket(fileno=channel) as talk, talk.makefile("r") as lines:
        os.set_inheritable(channel, False)  # noqa: FBT003 - its only argument
        request = json.loads(lines.readline())
        if request["fd"] is not None:
            os.set_inheritable(request["fd"], False)  # noqa: FBT003 - the same
        fd = None
        try:
            Account(request["uid"], request["gid"], request["name"]).become()
            text, fd = asyncio.run(_run(_ACTIONS[request["action"]], request, talk))
            answer: dict[str, object] = {"text": text}
        except EmbeddedServerError as error:
            answer = {"error": str(error), "unlisted": isinstance(error, UnlistedUserError)}
        except OSError as error:
            answer = {"error": f"the embedded PostgreSQL can't be used: {error}"}
        with contextlib.suppress(OSError):  # the caller is gone
            socket.send_fds(talk, [json.dumps(answer).encode() + b"\n"], [] if fd is None else [fd])


async def _run(action: _Action, request: _Request, channel: socket.socket) -> ActionResult:
    running = asyncio.ensure_future(action(request))
    loop = asyncio.get_running_loop()
    loop.add_reader(channel, running.cancel)  # the caller sends nothing more, so this means that it ended
    try:
        return await running
    except asyncio.CancelledError:
        raise EmbeddedServerError("the caller is gone") from None
    finally:
        loop.remove_reader(channel)


async def _create_folder(request: _Request) -> ActionResult:
    return ActionResult(create_folder(_folder(request), tuple(request["missing"])), None)


async def _record_location(request: _Request) -> ActionResult:
    record_location(_folder(request), Path(request["path"]), request["reason"])
    return ActionResult(None, None)


async def _join(request: _Request) -> ActionResult:
    share = None if request["fd"] is None else FileLock(request["fd"])
    joined = await join(Launch.requested(request), share)
    return ActionResult(joined.postmaster.encoded(joined.password), None if share else joined.share.fd)


async def _leave(request: _Request) -> ActionResult:
    await leave(Launch.requested(request), FileLock(request["fd"]))
    return ActionResult(None, None)


def _folder(request: _Request) -> Folder:
    return Folder(request["fd"], Path(request.get("folder", ".")))


_ACTIONS: Final[dict[str, _Action]] = {
    "create_folder": _create_folder,
    "record_location": _record_location,
    "join": _join,
    "leave": _leave,
}

"""What an errand does: the process at its other end. See `errand`."""

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
from perdure.stores.postgres.embedded.errand import Answer, UnlistedUserError
from perdure.stores.postgres.embedded.files import Folder
from perdure.stores.postgres.embedded.launch import Launch
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.membership import join, leave
from perdure.stores.postgres.embedded.place import record, settle

_Request = dict[str, Any]

# What the event loop would import itself, but not before the rights are dropped.
_NEEDED: Final = (ThreadPoolExecutor,)


def main(channel: int) -> None:
    """Read what to do, become the user it is done as, do it, and answer."""
    with socket.socket(fileno=channel) as talk, talk.makefile("r") as lines:
        os.set_inheritable(channel, False)  # noqa: FBT003 - its one meaning
        request = json.loads(lines.readline())
        if request["fd"] is not None:
            os.set_inheritable(request["fd"], False)  # noqa: FBT003 - the same
        fd = None
        try:
            Account(request["uid"], request["gid"], request["name"]).become()
            text, fd = asyncio.run(_do(_ERRANDS[request["errand"]], request, talk))
            answer: dict[str, object] = {"text": text}
        except EmbeddedServerError as error:
            answer = {"error": str(error), "unlisted": isinstance(error, UnlistedUserError)}
        except OSError as error:
            answer = {"error": f"the embedded PostgreSQL can't be used: {error}"}
        with contextlib.suppress(OSError):  # nobody waits for it any more
            socket.send_fds(talk, [json.dumps(answer).encode() + b"\n"], [] if fd is None else [fd])


async def _do(errand: Callable[[_Request], Awaitable[Answer]], request: _Request, talk: socket.socket) -> Answer:
    doing = asyncio.ensure_future(errand(request))
    loop = asyncio.get_running_loop()
    loop.add_reader(talk, doing.cancel)  # nothing more is sent: it can only be the end
    try:
        return await doing
    except asyncio.CancelledError:
        raise EmbeddedServerError("nobody waits for it any more") from None
    finally:
        loop.remove_reader(talk)


async def _settle(request: _Request) -> Answer:
    return Answer(settle(_folder(request), tuple(request["missing"])), None)


async def _record(request: _Request) -> Answer:
    record(_folder(request), Path(request["path"]), request["reason"])
    return Answer(None, None)


async def _join(request: _Request) -> Answer:
    share = None if request["fd"] is None else FileLock(request["fd"])
    joined = await join(Launch.requested(request), share)
    return Answer(joined.postmaster.encoded(joined.password), None if share else joined.share.fd)


async def _leave(request: _Request) -> Answer:
    await leave(Launch.requested(request), FileLock(request["fd"]))
    return Answer(None, None)


def _folder(request: _Request) -> Folder:
    return Folder(request["fd"], Path(request.get("folder", ".")))


_ERRANDS: Final[dict[str, Callable[[_Request], Awaitable[Answer]]]] = {
    "settle": _settle,
    "record": _record,
    "join": _join,
    "leave": _leave,
}

"""The addresses of the server: a socket in a private folder, and, if requested, a port on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.location import ServerLocation

_RECORD = "endpoint.txt"  # the addresses, to reuse them after a crash
_PORT = 5432
_PREFIX = "perdure-"
_LONGEST = 80  # bytes; systems allow 103 to 107 for the path of a socket, and a project's path may be longer


@dataclass(frozen=True)
class Endpoint:
    """The addresses of one server."""

    sockets: Path
    port: int
    tcp: bool

    @classmethod
    def choose(cls, location: ServerLocation, *, tcp: bool) -> Endpoint:
        """Choose addresses: those from before a crash if possible, because clients still use them."""
        before = cls._recorded(location)
        if before and _is_private(before.sockets, location.account):
            _clear(before.sockets)
            sockets = before.sockets
        else:
            sockets = _private_folder(location.account)
        port = _free_port(before.port if before and before.tcp else 0) if tcp else _PORT
        with location.folder() as folder:
            folder.write(_RECORD, f"{sockets}\n{port}\n")
        return cls(sockets, port, tcp)

    @classmethod
    def release(cls, location: ServerLocation) -> None:
        """Remove the addresses of a server that has stopped."""
        if (endpoint := cls._recorded(location)) and _is_private(endpoint.sockets, location.account):
            _clear(endpoint.sockets)
            with contextlib.suppress(OSError):  # it contains files of other programs
                endpoint.sockets.rmdir()
        with location.folder() as folder:
            folder.remove(_RECORD)

    @classmethod
    def _recorded(cls, location: ServerLocation) -> Endpoint | None:
        with location.folder() as folder:
            found = folder.read(_RECORD) or ""
        try:
            sockets, port = found.splitlines()
            return cls(Path(sockets), int(port), int(port) != _PORT)
        except ValueError:
            return None


def _private_folder(account: Account) -> Path:
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - the folder in it is private
        if len(os.fsencode(parent)) < _LONGEST:
            with contextlib.suppress(OSError):  # it may be root's, where this user can't write
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise EmbeddedServerError(
        f"user {account.name!r} can't write to the temporary folder: set TMPDIR to a folder that it can write to"
    )


def _clear(folder: Path) -> None:
    for leftover in folder.glob(".s.PGSQL.*"):
        leftover.unlink()


def _is_private(folder: Path, account: Account) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid and not status.st_mode & 0o077


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedServerError("this machine has no free port left on 127.0.0.1")

"""The data directory: created once, checked and configured at every start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from perdure.errors import EmbeddedServerError, InvalidArgumentError
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.endpoint import Endpoint
from perdure.stores.postgres.embedded.files import Folder, check_own_folder
from perdure.stores.postgres.embedded.location import ServerLocation, shared_folder
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from perdure.stores.postgres.embedded.owner_process import UnlistedUserError

PASSWORD = "password.txt"  # noqa: S105 - the name of the file with the superuser's password
PASSFILE = "pgpass.txt"  # the same for libpq, if the server has a TCP port

_DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "cluster_name": "perdure",
}
_RESERVED = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory"})
_DRAFT = "data.new-"
_STAGED = "staged-"
_STAGING_LOCK = "staging.lock"
_VERSION = "PG_VERSION"


def checked_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings. Raise InvalidArgumentError for one that can't be given."""
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            raise InvalidArgumentError("settings", f"contains {name!r}, which isn't the name of a setting")
        if name.lower() in _RESERVED:
            raise InvalidArgumentError("settings", f"contains {name!r}, which the embedded PostgreSQL sets itself")
    return dict(settings)


def check_version(location: ServerLocation, major: int) -> None:
    """Refuse a data directory of another major version, which the server couldn't read."""
    found = _version(location)
    if found is not None and found != str(major):
        raise EmbeddedServerError(
            f"{location.data} was created by PostgreSQL {found}, and this is PostgreSQL {major}: "
            f"use major={found}, or choose another directory and load a dump (pg_dump) of this one there"
        )


async def make_cluster(
    location: ServerLocation, binaries: Binaries, settings: Mapping[str, str], lock: FileLock, staged: Path | None
) -> None:
    """Create the data directory if it is missing. A kill in between leaves no incomplete one.

    `initdb` inherits the lock, so that no other process interferes if it outlives this one. If root has created the
    data directory in a staging folder, it is moved from there.

    Raises:
        UnlistedUserError: `initdb` can't be run as this user.
    """
    if _version(location) is not None:
        return
    if staged is None and not location.account.is_listed:
        raise UnlistedUserError(
            f"initdb refuses user {location.account.uid}, which /etc/passwd doesn't list: add that user, "
            "or name a database in PERDURE_DATABASE_URL"
        )
    await asyncio.to_thread(_clear, location)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=location.path))
    if staged is None:
        with location.folder() as folder:
            folder.write(PASSWORD, secrets.token_urlsafe(24))
        command = _initdb(binaries, draft, location.path / PASSWORD, settings)
        await _run(location.account, command, location.path, pass_fds=(lock.fd,))
    else:
        await asyncio.to_thread(_move, staged, draft, location, settings)
    await asyncio.to_thread(_publish, draft, location)


@asynccontextmanager
async def staged_cluster(account: Account, binaries: Binaries, settings: Mapping[str, str]) -> AsyncGenerator[Path]:
    """Create a data directory in a private staging folder, for a user that /etc/passwd doesn't list. Only for root.

    `initdb` refuses such a user, so a listed user runs it. Other processes of that user can't interfere: only one group
    can enter the folder, and no other process has that group. The separate group also prevents tracing of `initdb`.
    """
    maker = Account.listed().in_group(account.gid)
    shared = shared_folder()
    async with exclusively(FileLock.on(shared / _STAGING_LOCK)):  # _clear_staged removes folders that aren't locked
        await asyncio.to_thread(_clear_staged, shared)
        folder = Path(tempfile.mkdtemp(prefix=f"{_STAGED}{account.uid}-", dir=shared))
        lock = FileLock(os.open(folder, os.O_RDONLY))
        lock.try_exclusive()
    try:
        _prepare(folder, maker)
        command = _initdb(binaries, folder / "data", folder / PASSWORD, settings)
        await _run(maker, command, folder, pass_fds=(lock.fd,))
        await asyncio.to_thread(_give, folder, account)
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        lock.close()


def configure(location: ServerLocation, settings: Mapping[str, str], endpoint: Endpoint) -> None:
    """Write the server's configuration."""
    values = {
        **_DEFAULTS,
        **settings,
        "listen_addresses": "127.0.0.1" if endpoint.tcp else "",
        "port": str(endpoint.port),
        "unix_socket_directories": f'"{endpoint.sockets}"',
    }
    lines = [f"{name} = '{_quoted(value)}'" for name, value in values.items()]
    head = "# Written at every start. Set your own values with ALTER SYSTEM, or pass them as settings=."
    with Folder.open(location.data) as folder:
        folder.write("postgresql.conf", "\n".join([head, *lines, ""]))


def _version(location: ServerLocation) -> str | None:
    if not check_own_folder(location.data):
        return None
    with Folder.open(location.data) as folder:
        found = folder.read(_VERSION)
    return None if found is None else found.strip()


def _initdb(binaries: Binaries, data: Path, password: Path, settings: Mapping[str, str]) -> list[str | Path]:
    arguments = [
        f"--pgdata={data}",
        f"--pwfile={password}",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",  # other users can't enter the folder of the socket
        "--auth-host=scram-sha-256",
        "--data-checksums",
        "--no-instructions",
    ]
    if settings.get("fsync") == "off":
        arguments.append("--no-sync")
    return [binaries.program("initdb"), *arguments]


async def _run(account: Account, command: list[str | Path], folder: Path, pass_fds: tuple[int, ...] = ()) -> None:
    status, output = await account.run(*command, pass_fds=pass_fds)
    if status != 0:
        raise EmbeddedServerError(f"initdb can't create the data directory in {folder}: {output.strip()}")


def _prepare(folder: Path, maker: Account) -> None:
    (folder / "data").mkdir(mode=0o700)
    os.chown(folder / "data", maker.uid, maker.gid)
    (folder / PASSWORD).touch(mode=0o640)
    (folder / PASSWORD).write_text(secrets.token_urlsafe(24))
    os.chown(folder / PASSWORD, 0, maker.gid)
    os.chown(folder, 0, maker.gid)
    folder.chmod(0o710)


def _give(folder: Path, account: Account) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _clear_staged(shared: Path) -> None:
    # A killed process leaves its folder unlocked.
    for folder in shared.glob(f"{_STAGED}*"):
        with contextlib.suppress(FileNotFoundError):  # its creator removed it
            lock = FileLock(os.open(folder, os.O_RDONLY))
            if lock.try_exclusive():
                shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _move(staged: Path, draft: Path, location: ServerLocation, settings: Mapping[str, str]) -> None:
    with location.folder() as folder:
        folder.write(PASSWORD, (staged / PASSWORD).read_text())
    try:
        (staged / "data").rename(draft)
    except OSError:  # another file system
        shutil.copytree(staged / "data", draft, dirs_exist_ok=True, symlinks=True)
        if settings.get("fsync") != "off":
            os.sync()


def _clear(location: ServerLocation) -> None:
    for draft in location.path.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    if check_own_folder(location.data):
        # Perdure never leaves one without its version, so it isn't Perdure's to delete.
        location.data.rename(location.path / f"data.incomplete-{int(time.time())}")


def _publish(draft: Path, location: ServerLocation) -> None:
    draft.rename(location.data)
    fd = os.open(location.path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")

"""The data directory: made once, checked and configured at every start."""

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
from perdure.stores.postgres.embedded.errand import UnlistedUserError
from perdure.stores.postgres.embedded.files import Folder, check_own_folder
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from perdure.stores.postgres.embedded.place import Place, shared_folder

PASSWORD = "password.txt"  # noqa: S105 - the name of the file with the superuser's password

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
    """Return the settings, or tell which one can't be given."""
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            raise InvalidArgumentError("settings", f"holds {name!r}, which is no name of a setting")
        if name.lower() in _RESERVED:
            raise InvalidArgumentError("settings", f"holds {name!r}, which the embedded PostgreSQL chooses itself")
    return dict(settings)


def check_version(place: Place, major: int) -> None:
    """Refuse a data directory of another major version, which the server could not read."""
    found = _version(place)
    if found is not None and found != str(major):
        raise EmbeddedServerError(
            f"{place.data} was made by PostgreSQL {found} and this is PostgreSQL {major}: "
            f"ask for major={found}, or choose another directory and load a dump (pg_dump) of this one there"
        )


async def make_cluster(
    place: Place, binaries: Binaries, settings: Mapping[str, str], lock: FileLock, staged: Path | None
) -> None:
    """Make the data directory, unless it is there. Killed halfway, it leaves nothing that looks like one.

    `initdb` holds the lock too, so that nobody comes in between when it outlives us. Where root has made the data
    directory elsewhere, it is moved from there.

    Raises:
        UnlistedUserError: `initdb` can't be run as this user.
    """
    if _version(place) is not None:
        return
    if staged is None and not place.account.is_listed:
        raise UnlistedUserError(
            f"initdb refuses user {place.account.uid}, whom /etc/passwd doesn't list: list that user, "
            "or name a database in PERDURE_DATABASE_URL"
        )
    await asyncio.to_thread(_clear, place)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=place.path))
    if staged is None:
        with place.folder() as folder:
            folder.write(PASSWORD, secrets.token_urlsafe(24))
        command = _initdb(binaries, draft, place.path / PASSWORD, settings)
        await _run(place.account, command, place.path, pass_fds=(lock.fd,))
    else:
        await asyncio.to_thread(_move, staged, draft, place, settings)
    await asyncio.to_thread(_publish, draft, place)


@asynccontextmanager
async def staged_cluster(account: Account, binaries: Binaries, settings: Mapping[str, str]) -> AsyncGenerator[Path]:
    """A new data directory in a private folder, for root, whose server runs as a user that the system doesn't list.

    `initdb` refuses such a user, so another runs it. What else that other user runs can't come near: the folder lets
    in one group only, in which nothing else is. A group of its own also keeps `initdb` from being traced.
    """
    maker = Account.listed().in_group(account.gid)
    shared = shared_folder()
    async with exclusively(FileLock.on(shared / _STAGING_LOCK)):  # a folder without its lock would be cleared away
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


def configure(place: Place, settings: Mapping[str, str], endpoint: Endpoint) -> None:
    """Write the server's configuration."""
    values = {
        **_DEFAULTS,
        **settings,
        "listen_addresses": "127.0.0.1" if endpoint.tcp else "",
        "port": str(endpoint.port),
        "unix_socket_directories": f'"{endpoint.sockets}"',
    }
    lines = [f"{name} = '{_quoted(value)}'" for name, value in values.items()]
    head = "# Written at every start. Keep settings of your own with ALTER SYSTEM, or pass them as settings=."
    with Folder.open(place.data) as folder:
        folder.write("postgresql.conf", "\n".join([head, *lines, ""]))


def _version(place: Place) -> str | None:
    """The major version of PostgreSQL that made the data directory; None when there is none."""
    if not check_own_folder(place.data):
        return None
    with Folder.open(place.data) as folder:
        found = folder.read(_VERSION)
    return None if found is None else found.strip()


def _initdb(binaries: Binaries, data: Path, password: Path, settings: Mapping[str, str]) -> list[str | Path]:
    arguments = [
        f"--pgdata={data}",
        f"--pwfile={password}",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",  # the socket's folder is closed to others
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
        raise EmbeddedServerError(f"the data directory can't be made in {folder}: {output.strip()}")


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
    """Remove what was left by processes that were killed: nobody holds its lock."""
    for folder in shared.glob(f"{_STAGED}*"):
        with contextlib.suppress(FileNotFoundError):  # its maker removes it
            lock = FileLock(os.open(folder, os.O_RDONLY))
            if lock.try_exclusive():
                shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _move(staged: Path, draft: Path, place: Place, settings: Mapping[str, str]) -> None:
    with place.folder() as folder:
        folder.write(PASSWORD, (staged / PASSWORD).read_text())
    try:
        (staged / "data").rename(draft)
    except OSError:  # another file system
        shutil.copytree(staged / "data", draft, dirs_exist_ok=True, symlinks=True)
        if settings.get("fsync") != "off":
            os.sync()


def _clear(place: Place) -> None:
    for draft in place.path.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    if check_own_folder(place.data):
        # Not ours to throw away: we never leave one behind without its version.
        place.data.rename(place.path / f"data.incomplete-{int(time.time())}")


def _publish(draft: Path, place: Place) -> None:
    draft.rename(place.data)
    fd = os.open(place.path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")

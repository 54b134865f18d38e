"""Where the embedded PostgreSQL lives, and as whom.

It lives in the project's `.perdure`, which belongs to the user that runs it. Only where root starts it, and that user
can't enter the project, does it live in a folder of the system; `.perdure/location.txt` then names that folder.

Root never works in a folder that another user can change: what is done there is done by an errand, as that user.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perdure.errors import EmbeddedServerError
from perdure.observation import keys
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.errand import send
from perdure.stores.postgres.embedded.files import Folder, check_own_folder
from perdure.stores.postgres.embedded.ground import Ground, survey
from perdure.stores.postgres.embedded.locks import FileLock, exclusively

logger = logging.getLogger("perdure.embedded")

_RECORD: Final = "location.txt"
_IGNORE: Final = ".gitignore"
# /var/lib first: the other two are swept, by age or at boot.
_SYSTEM_FOLDERS = ("/var/lib", "/var/tmp", tempfile.gettempdir())  # noqa: S108 - the folder in it is checked


@dataclass(frozen=True)
class Place:
    """A folder with the data, the log and the locks of one server, and the account that owns it and runs the server."""

    path: Path
    account: Account

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.path / "postgresql.log"

    def folder(self) -> Folder:
        """The folder, open, which the caller closes."""
        return Folder.open(self.path)


async def find_place(directory: Path) -> Place:
    """Find the place of a project's server, or settle it for the first time."""
    return await (_find_as_root(directory) if os.geteuid() == 0 else _find_own(directory))


def settle(start: Folder, missing: tuple[str, ...]) -> str | None:
    """Make a project's folder below one that exists. Return what its `location.txt` says, if it has one."""
    with _made(start, missing) as folder:
        return folder.read(_RECORD)


def record(folder: Folder, path: Path, reason: str) -> None:
    """Write in a project's folder where its server lives instead."""
    folder.write(_RECORD, f"{path}\nThe embedded PostgreSQL lives there: {reason}.\n")


def shared_folder() -> Path:
    """Return a folder of the system that every user can enter and only root can write."""
    for parent in map(Path, _SYSTEM_FOLDERS):
        folder = parent / "perdure"
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
            if _is_ours(folder):
                folder.chmod(0o755)
                return folder
        except OSError:
            continue
    raise EmbeddedServerError(
        f"none of {', '.join(_SYSTEM_FOLDERS)} can be written: set PERDURE_EMBEDDED_DIRECTORY to a folder "
        "that an unprivileged user can enter"
    )


async def _find_own(directory: Path) -> Place:
    directory, location = _settle_own(directory)
    account = Account.of(os.geteuid())
    path = _recorded(directory, location) or directory
    check_own_folder(path)
    return Place(path, account)


def _settle_own(directory: Path) -> tuple[Path, str | None]:
    directory = directory.resolve()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    with Folder.open(existing) as start:
        return directory, settle(start, directory.relative_to(existing).parts)


async def _find_as_root(directory: Path) -> Place:
    ground = survey(directory)
    if ground.missing:
        await _settle(ground)
    async with exclusively(FileLock(os.open(ground.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))):
        ground = survey(directory)  # it may have got a keeper while we waited
        path = _recorded(directory, await _settle(ground))
        if path is not None:
            return Place(path, _account_in(path, ground))
        account = Account.of(ground.keeper) if ground.keeper else Account.unused()
        if not await account.can_enter(ground.path.parent):
            reason = f"the server runs as user {account.name!r}, who can't enter {ground.path.parent}"
        elif not ground.keeper and not _is_unused(ground.path):
            reason = f"the server runs as user {account.name!r}, and {ground.path} holds what is root's"
        else:
            if not ground.keeper:
                os.chown(ground.path, account.uid, account.gid, follow_symlinks=False)
            return Place(ground.path, account)
        return Place(await _elsewhere(ground, account, reason), account)


async def _settle(ground: Ground) -> str | None:
    with Folder.open(ground.existing) as start:
        if not ground.keeper:
            return settle(start, ground.missing)
        request = {"folder": str(start.path), "missing": ground.missing}
        answer = await send(Account.of(ground.keeper), "settle", request, start.fd)
    return answer.text


async def _elsewhere(ground: Ground, account: Account, reason: str) -> Path:
    project = re.sub(r"[^A-Za-z0-9]+", "-", ground.path.parent.name)[:30]
    path = Path(tempfile.mkdtemp(prefix=f"{project}-", dir=shared_folder()))
    os.chown(path, account.uid, account.gid)
    with Folder.open(ground.path) as folder:
        if ground.keeper:
            request = {"folder": str(folder.path), "path": str(path), "reason": reason}
            await send(Account.of(ground.keeper), "record", request, folder.fd)
        else:
            record(folder, path, reason)
    logger.info("the embedded PostgreSQL lives in %s: %s", path, reason, extra=keys(operation="embedded_server"))
    return path


def _recorded(directory: Path, location: str | None) -> Path | None:
    """The folder that `location.txt` names, if it is there."""
    if not location:
        return None
    path = Path(location.splitlines()[0])
    if path.is_dir():
        return path
    told = keys(operation="embedded_server")
    logger.warning(
        "%s names %s, which is gone: the embedded PostgreSQL starts empty", directory / _RECORD, path, extra=told
    )
    return None


def _account_in(path: Path, ground: Ground) -> Account:
    """The account that owns a recorded folder. A project's owner can only name a folder of his own."""
    keeper = survey(path).keeper
    if keeper and ground.keeper in {0, keeper}:
        return Account.of(keeper)
    raise EmbeddedServerError(
        f"{ground.path / _RECORD} names {path}, which isn't a folder of the embedded PostgreSQL: remove that file"
    )


def _is_unused(folder: Path) -> bool:
    """Whether a folder of root's can be given to another user: it is root's alone, and holds nothing."""
    return not folder.stat().st_mode & 0o022 and {path.name for path in folder.iterdir()} <= {_IGNORE}


def _made(start: Folder, missing: tuple[str, ...]) -> Folder:
    folder = Folder(os.dup(start.fd), start.path)
    for name in missing:
        with folder:
            folder = folder.below(name, mode=0o700 if name == missing[-1] else 0o777)
    if missing:
        folder.ensure(_IGNORE, "*\n")  # several processes may be first at the same time
    return folder


def _is_ours(folder: Path) -> bool:
    # Where anybody may create files, another user could have been there first.
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022

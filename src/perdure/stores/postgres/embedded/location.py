"""Finds the folder of the embedded PostgreSQL, and the user that runs it.

The folder is `.perdure` in the project, which belongs to the user that runs the server. If root starts it, and that
user can't enter the project, the folder is in a system folder instead, and `.perdure/location.txt` names it.

Root never works in a folder that another user can change. A process of that user does it, see `owner_process`.
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
from perdure.stores.postgres.embedded.files import Folder, check_own_folder
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from perdure.stores.postgres.embedded.owner_process import run_as_owner
from perdure.stores.postgres.embedded.path_survey import SurveyedPath, survey

logger = logging.getLogger("perdure.embedded")

_RECORD: Final = "location.txt"
_IGNORE: Final = ".gitignore"
# /var/lib first, because systems clean the other two by age or at boot.
_SYSTEM_FOLDERS = ("/var/lib", "/var/tmp", tempfile.gettempdir())  # noqa: S108 - the folder below it is checked


@dataclass(frozen=True)
class ServerLocation:
    """The folder with the data, log and locks of one server, and the account that owns it and runs the server."""

    path: Path
    account: Account

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """The log file of the server."""
        return self.path / "postgresql.log"

    def folder(self) -> Folder:
        """Open the folder, which the caller closes."""
        return Folder.open(self.path)


async def find_location(directory: Path) -> ServerLocation:
    """Find the location of a project's server, or choose it for the first time."""
    return await (_find_as_root(directory) if os.geteuid() == 0 else _find_own(directory))


def create_folder(start: Folder, missing: tuple[str, ...]) -> str | None:
    """Create the folder of a project below an existing one. Return the text of its `location.txt`, or None."""
    with _folder_below(start, missing) as folder:
        return folder.read(_RECORD)


def record_location(folder: Folder, path: Path, reason: str) -> None:
    """Record in the folder of a project that its server is in another folder."""
    folder.write(_RECORD, f"{path}\nThis is the folder of the embedded PostgreSQL: {reason}.\n")


def shared_folder() -> Path:
    """Return a system folder that every user can enter and only root can write to."""
    for parent in map(Path, _SYSTEM_FOLDERS):
        folder = parent / "perdure"
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
            if _is_own_folder(folder):
                folder.chmod(0o755)
                return folder
        except OSError:
            continue
    raise EmbeddedServerError(
        f"root can't write to any of {', '.join(_SYSTEM_FOLDERS)}: set PERDURE_EMBEDDED_DIRECTORY to a folder "
        "that an unprivileged user can enter"
    )


async def _find_own(directory: Path) -> ServerLocation:
    directory, location = _create_own_folder(directory)
    account = Account.of(os.geteuid())
    path = _recorded(directory, location) or directory
    check_own_folder(path)
    return ServerLocation(path, account)


def _create_own_folder(directory: Path) -> tuple[Path, str | None]:
    directory = directory.resolve()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    with Folder.open(existing) as start:
        return directory, create_folder(start, directory.relative_to(existing).parts)


async def _find_as_root(directory: Path) -> ServerLocation:
    surveyed = survey(directory)
    if surveyed.missing:
        await _create_folder(surveyed)
    async with exclusively(FileLock(os.open(surveyed.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))):
        surveyed = survey(directory)  # it may have got a controller meanwhile
        path = _recorded(directory, await _create_folder(surveyed))
        if path is not None:
            return ServerLocation(path, _account_in(path, surveyed))
        account = Account.of(surveyed.controller) if surveyed.controller else Account.unused()
        if not await account.can_enter(surveyed.path.parent):
            reason = f"the server runs as user {account.name!r}, which can't enter {surveyed.path.parent}"
        elif not surveyed.controller and not _is_unused(surveyed.path):
            reason = f"the server runs as user {account.name!r}, and {surveyed.path} contains files of root"
        else:
            if not surveyed.controller:
                os.chown(surveyed.path, account.uid, account.gid, follow_symlinks=False)
            return ServerLocation(surveyed.path, account)
        return ServerLocation(await _choose_system_folder(surveyed, account, reason), account)


async def _create_folder(surveyed: SurveyedPath) -> str | None:
    with Folder.open(surveyed.existing) as start:
        if not surveyed.controller:
            return create_folder(start, surveyed.missing)
        request = {"folder": str(start.path), "missing": surveyed.missing}
        answer = await run_as_owner(Account.of(surveyed.controller), "create_folder", request, start.fd)
    return answer.text


async def _choose_system_folder(surveyed: SurveyedPath, account: Account, reason: str) -> Path:
    project = re.sub(r"[^A-Za-z0-9]+", "-", surveyed.path.parent.name)[:30]
    path = Path(tempfile.mkdtemp(prefix=f"{project}-", dir=shared_folder()))
    os.chown(path, account.uid, account.gid)
    with Folder.open(surveyed.path) as folder:
        if surveyed.controller:
            request = {"folder": str(folder.path), "path": str(path), "reason": reason}
            await run_as_owner(Account.of(surveyed.controller), "record_location", request, folder.fd)
        else:
            record_location(folder, path, reason)
    logger.info("the embedded PostgreSQL is in %s: %s", path, reason, extra=keys(operation="embedded_server"))
    return path


def _recorded(directory: Path, location: str | None) -> Path | None:
    if not location:
        return None
    path = Path(location.splitlines()[0])
    if path.is_dir():
        return path
    extra = keys(operation="embedded_server")
    logger.warning(
        "%s names %s, which doesn't exist: the embedded PostgreSQL starts empty", directory / _RECORD, path, extra=extra
    )
    return None


def _account_in(path: Path, surveyed: SurveyedPath) -> Account:
    # The owner of a project can only name a folder with the same owner.
    controller = survey(path).controller
    if controller and surveyed.controller in {0, controller}:
        return Account.of(controller)
    raise EmbeddedServerError(
        f"{surveyed.path / _RECORD} names {path}, which isn't a folder of the embedded PostgreSQL: remove that file"
    )


def _is_unused(folder: Path) -> bool:
    # Root may give a folder to another user if only root could write to it, and it is empty.
    return not folder.stat().st_mode & 0o022 and {path.name for path in folder.iterdir()} <= {_IGNORE}


def _folder_below(start: Folder, missing: tuple[str, ...]) -> Folder:
    folder = Folder(os.dup(start.fd), start.path)
    for name in missing:
        with folder:
            folder = folder.below(name, mode=0o700 if name == missing[-1] else 0o777)
    if missing:
        folder.ensure(_IGNORE, "*\n")  # several processes may create it at the same time
    return folder


def _is_own_folder(folder: Path) -> bool:
    # In a folder that all users can write to, another user may have created it first.
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022

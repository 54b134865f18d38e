"""Where the embedded PostgreSQL lives.

It lives in the project's `.perdure`. Only where root starts it, and the user that runs it can't enter the project, does
it live in a folder of the system; `.perdure/location.txt` then names that folder.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import EmbeddedServerError
from perdure.observation import keys
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.locks import exclusively

logger = logging.getLogger("perdure.embedded")

_RECORD = "location.txt"
# /var/lib first: the other two are swept, by age or at boot.
_SYSTEM_FOLDERS = ("/var/lib", "/var/tmp", tempfile.gettempdir())  # noqa: S108 - the folder in it is checked


@dataclass(frozen=True)
class Place:
    """A folder with the data, the log and the locks of one server, and the account that runs it."""

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

    @property
    def endpoint(self) -> Path:
        """The file that keeps the server's addresses over a crash."""
        return self.path / "endpoint.txt"

    @property
    def password(self) -> Path:
        """The file with the superuser's password, which only TCP connections need."""
        return self.path / "password.txt"


async def find_place(directory: Path) -> Place:
    """Find the place of a project's server, or settle it for the first time."""
    _make(directory)
    async with exclusively(directory):
        path = _recorded(directory) or directory
        if (path / "data").exists():
            return Place(path, _owner(path / "data"))
        account = Account.for_project(directory)
        if path == directory and not await account.can_enter(directory):
            path = _elsewhere(directory, account)
        return Place(path, account)


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


def _make(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    if directory in missing:
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
        (directory / ".gitignore").write_text("*\n")


def _recorded(directory: Path) -> Path | None:
    record = directory / _RECORD
    if not record.exists():
        return None
    path = Path(record.read_text(encoding="utf-8").splitlines()[0])
    if path.is_dir():
        return path
    told = keys(operation="embedded_server")
    logger.warning("%s names %s, which is gone: the embedded PostgreSQL begins anew", record, path, extra=told)
    return None


def _owner(data: Path) -> Account:
    account = Account.of(data.stat().st_uid)
    if account.foreign and os.geteuid() != 0:
        raise EmbeddedServerError(
            f"{data} belongs to user {account.name!r}: run as that user, "
            "or set PERDURE_EMBEDDED_DIRECTORY to a folder of your own"
        )
    return account


def _elsewhere(directory: Path, account: Account) -> Path:
    project = re.sub(r"[^A-Za-z0-9]+", "-", directory.parent.name)[:30]
    path = Path(tempfile.mkdtemp(prefix=f"{project}-", dir=shared_folder()))
    path.chmod(0o711)
    reason = f"the server runs as user {account.name!r}, who can't enter {directory}"
    record = f"{path}\nThe embedded PostgreSQL lives there: {reason}.\n"
    Account.of(directory.stat().st_uid).write(directory / _RECORD, record)
    logger.info("the embedded PostgreSQL lives in %s: %s", path, reason, extra=keys(operation="embedded_server"))
    return path


def _is_ours(folder: Path) -> bool:
    # Where anybody may create files, another user could have been there first.
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022

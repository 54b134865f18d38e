"""Access to folders and files that another user may have created. It follows no links, and checks every owner."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from perdure.errors import EmbeddedServerError

_LONGEST: Final = 1_000_000
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, because opening a named pipe would wait before its type can be checked.
_FILE: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_IS_A_LINK: Final = {errno.ELOOP, errno.EMLINK}


class Folder:
    """An open folder. Renaming or replacing it doesn't affect the open one."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path
        self.owner = os.fstat(fd).st_uid

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder. Raise EmbeddedServerError if it is a link."""
        try:
            return cls(os.open(path, _FOLDER), path)
        except OSError:
            if path.is_symlink():
                raise _refused(path, "is a link") from None
            raise

    def below(self, name: str, *, mode: int) -> Folder:
        """Open a subfolder. Create it if it is missing."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=self.fd)
        return Folder(os.open(name, _FOLDER, dir_fd=self.fd), self.path / name)

    def open_file(self, name: str, flags: int) -> int:
        """Open a file. Raise EmbeddedServerError unless it is the owner's regular file, without hard links."""
        path = self.path / name
        try:
            fd = os.open(name, flags | _FILE, 0o600, dir_fd=self.fd)
        except OSError as error:
            if error.errno in _IS_A_LINK:
                raise _refused(path, "is a link") from None
            raise
        status = os.fstat(fd)
        reason = (
            "isn't a regular file"
            if not stat.S_ISREG(status.st_mode)
            else "belongs to another user than its folder"
            if status.st_uid != self.owner
            else "has a second name (a hard link)"
            if status.st_nlink > 1
            else None
        )
        if reason:
            os.close(fd)
            raise _refused(path, reason)
        return fd

    def read(self, name: str) -> str | None:
        """Return the text of a file, or None if it doesn't exist."""
        try:
            fd = self.open_file(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(_LONGEST).decode(errors="replace")

    def write(self, name: str, text: str) -> None:
        """Write a file atomically, readable only by its owner. One process at a time may do so."""
        draft = f"{name}.new"
        self.remove(draft)
        with os.fdopen(self.open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def ensure(self, name: str, text: str) -> None:
        """Write a file whose text never changes. Several processes may do so at the same time."""
        with os.fdopen(self.open_file(name, os.O_WRONLY | os.O_CREAT), "w", encoding="utf-8") as file:
            file.write(text)

    def rename(self, name: str, to: str) -> None:
        """Rename a file, and replace an existing one."""
        os.replace(name, to, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def close(self) -> None:
        """Close the folder."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_own_folder(path: Path) -> bool:
    """Return whether a folder exists. It must belong to the user of this process.

    Raises:
        EmbeddedServerError: it is a link, not a folder, or belongs to another user.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(path, "is a link" if stat.S_ISLNK(status.st_mode) else "isn't a folder")
    if status.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{path} belongs to user {user_name(status.st_uid)}: run as that user, "
            "or set PERDURE_EMBEDDED_DIRECTORY to your own folder"
        )
    return True


def user_name(uid: int) -> str:
    """Return the name of a user for messages: quoted, or the number if /etc/passwd doesn't list the user."""
    try:
        return repr(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


def _refused(path: Path, reason: str) -> EmbeddedServerError:
    return EmbeddedServerError(f"{path} {reason}, so the embedded PostgreSQL doesn't use it: remove it, and try again")

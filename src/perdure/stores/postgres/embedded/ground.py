"""Which user decides what a path leads to, for root, who must not be led where another user likes."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded.files import user_name

_MOST_LINKS: Final = 40


@dataclass(frozen=True)
class Ground:
    """What a path leads to.

    Attributes:
        existing: the deepest of its folders that exists, without links.
        missing: the names of those below it that don't exist.
        keeper: the id of the one user who, beside root, can change what the path leads to; 0 when only root can.
    """

    existing: Path
    missing: tuple[str, ...]
    keeper: int

    @property
    def path(self) -> Path:
        """The whole path, without links."""
        return self.existing.joinpath(*self.missing)


def survey(path: Path) -> Ground:
    """Follow a path from the root of the file system, and see who owns each folder and link on the way.

    Another user can change what lies below a folder of his while we look. That never hides him: his topmost folder
    lies in one of root's.

    Raises:
        EmbeddedServerError: several users, or all, can change what the path leads to.
        OSError: it can't be followed.
    """
    here, keepers, links = Path("/"), set[int](), 0
    ahead = list(reversed(path.parts[1:]))
    while ahead:
        step = here / ahead[-1]
        try:
            status = step.lstat()
        except FileNotFoundError:
            break
        name = ahead.pop()
        keepers.add(status.st_uid)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = step.readlink()
            here = Path("/") if target.is_absolute() else here
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        elif name == "..":
            here = here.parent
        elif stat.S_ISDIR(status.st_mode):
            _check_closed(step, status)
            here = step
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(step))
    others = sorted(keepers - {0})
    if len(others) > 1:
        raise EmbeddedServerError(
            f"{path} lies in folders of several users ({', '.join(map(user_name, others))}), each of whom can put "
            "another in its place: set PERDURE_EMBEDDED_DIRECTORY to a folder that only one user can change"
        )
    return Ground(here, tuple(reversed(ahead)), others[0] if others else 0)


def _check_closed(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder of root's in which others can rename what root put there."""
    open_to_all = status.st_mode & stat.S_IWOTH
    open_to_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    if status.st_uid == 0 and (open_to_all or open_to_group) and not status.st_mode & stat.S_ISVTX:
        raise EmbeddedServerError(
            f"other users can change what is in {folder}, so root starts no server below it: take their right to write "
            f"(chmod go-w {folder}), or set PERDURE_EMBEDDED_DIRECTORY to another folder"
        )

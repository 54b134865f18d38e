"""Finds the user that controls a path, so that root doesn't follow links of other users."""

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
class SurveyedPath:
    """A path with its links resolved, and the user that controls it.

    Attributes:
        existing: The deepest folder of the path that exists, without links.
        missing: The names of the folders below it that don't exist.
        controller: The id of the only user besides root that can change what the path leads to; 0 if only root can.
    """

    existing: Path
    missing: tuple[str, ...]
    controller: int

    @property
    def path(self) -> Path:
        """The whole path, without links."""
        return self.existing.joinpath(*self.missing)


def survey(path: Path) -> SurveyedPath:
    """Follow a path from the root of the file system, and check the owner of each folder and link.

    Another user may change the contents of its own folder meanwhile. That never hides the user, because its topmost
    folder is in a folder of root.

    Raises:
        EmbeddedServerError: several users, or all, can change what the path leads to.
        OSError: the path can't be followed.
    """
    here, owners, links = Path("/"), set[int](), 0
    ahead = list(reversed(path.parts[1:]))
    while ahead:
        step = here / ahead[-1]
        try:
            status = step.lstat()
        except FileNotFoundError:
            break
        name = ahead.pop()
        owners.add(status.st_uid)
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
    others = sorted(owners - {0})
    if len(others) > 1:
        raise EmbeddedServerError(
            f"{path} is below folders of several users ({', '.join(map(user_name, others))}), each of which can "
            "replace it: set PERDURE_EMBEDDED_DIRECTORY to a folder that only one user can change"
        )
    return SurveyedPath(here, tuple(reversed(ahead)), others[0] if others else 0)


def _check_closed(folder: Path, status: os.stat_result) -> None:
    # Other users could rename what root creates in such a folder.
    open_to_all = status.st_mode & stat.S_IWOTH
    open_to_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    if status.st_uid == 0 and (open_to_all or open_to_group) and not status.st_mode & stat.S_ISVTX:
        raise EmbeddedServerError(
            f"other users can write to {folder}, so root starts no server below it: remove that right "
            f"(chmod go-w {folder}), or set PERDURE_EMBEDDED_DIRECTORY to another folder"
        )

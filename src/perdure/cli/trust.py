"""Decides which folders may be imported from by default: those that only the current user and root can change."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from perdure.stores.postgres.embedded.files import user_name


def distrusted(folder: Path, *names: str) -> str | None:
    """Return why a folder may not be imported from by default, such as "… belongs to user 'eve'"; None if it may.

    Args:
        folder: the folder of the modules.
        names: files in it that would be read, too.
    """
    for path in (folder, *(folder / name for name in names)):
        status = path.stat()
        if status.st_uid not in {os.geteuid(), 0}:
            return f"{path} belongs to user {user_name(status.st_uid)}, and you are {user_name(os.geteuid())}"
        open_to_group = status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid)
        if status.st_mode & stat.S_IWOTH or open_to_group:
            return f"other users can write {path} (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def _is_private(gid: int) -> bool:
    """Return whether a group is root's, or the user's own group with no other member."""
    if gid == 0:
        return True
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid == os.getegid()
    return user_name(os.geteuid()) == repr(group.gr_name) and set(group.gr_mem) <= {group.gr_name}

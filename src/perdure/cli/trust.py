"""Which folders the command line imports from without being told: those that only its user and root can change."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

from perdure.stores.postgres.embedded.files import user_name


def distrusted(folder: Path, *names: str) -> str | None:
    """Why nothing in a folder may be imported unasked, as "… belongs to user 'eve'"; None when it may.

    Args:
        folder: where modules would be looked for.
        names: files in it that would be believed, too.
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
    """Whether a group is root's, or the one that many systems make for each user, with nobody else in it."""
    if gid == 0:
        return True
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid == os.getegid()
    return user_name(os.geteuid()) == repr(group.gr_name) and set(group.gr_mem) <= {group.gr_name}

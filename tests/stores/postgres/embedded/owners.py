"""Folders of another user, in which the tests play that user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from tests.stores.postgres.embedded.projects import FAST, runs

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can become other users")
SECRET = "only root reads or writes this\n"
UNLISTED = Account(61999, 61999, "61999")


def own(path: Path, user: Account) -> Path:
    """A new folder of a user."""
    path.mkdir(mode=0o700)
    os.chown(path, user.uid, user.gid)
    return path


def own_link(path: Path, target: Path, user: Account) -> None:
    """A new link of a user."""
    path.symlink_to(target)
    os.chown(path, user.uid, user.gid, follow_symlinks=False)


def empty(path: Path, user: Account) -> Path:
    """A new file of a user, with nothing in it."""
    path.touch()
    os.chown(path, user.uid, user.gid)
    return path


def text_of(path: Path) -> str:
    return path.read_text()


def names_in(path: Path) -> list[str]:
    return sorted(below.name for below in path.iterdir())


def everything_in(path: Path) -> list[Path]:
    return [path, *path.rglob("*")]


def uid_of(path: Path) -> int:
    return path.stat().st_uid


def tell_lies(path: Path, truth: object, lie: object) -> None:
    path.write_text(path.read_text().replace(str(truth), str(lie), 1))


def victim_of_root() -> "subprocess.Popen[bytes]":
    """A process of root's that ends well, if nobody signals it."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def once(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST):
        pass


async def refused(directory: Path, reason: str) -> None:
    with pytest.raises(EmbeddedServerError, match=reason):
        await once(directory)
    assert not runs(directory)

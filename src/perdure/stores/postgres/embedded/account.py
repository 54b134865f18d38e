"""The user that the server runs as, and what that user can reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

_UNPRIVILEGED = ("postgres", "nobody")
_NOBODY = 65534

# What the caller's environment says of PostgreSQL (PGDATA, PGPORT, locale) is meant for other servers than this one.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class Account:
    """A user of the system. PostgreSQL refuses root, so for root it is another user than ours."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of(cls, uid: int) -> Account:
        """Return the account of a user id, which need not be listed in the system's users."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, os.getegid() if uid == os.geteuid() else uid, str(uid))
        return cls(uid, entry.pw_gid, entry.pw_name)

    @classmethod
    def for_project(cls, directory: Path) -> Account:
        """Choose who runs the server of a project: ourselves, and for root the folder's owner, or a system user."""
        if os.geteuid() != 0:
            return cls.of(os.geteuid())
        if owner := directory.stat().st_uid:
            return cls.of(owner)
        for name in _UNPRIVILEGED:
            try:
                return cls.of(pwd.getpwnam(name).pw_uid)
            except KeyError:
                continue
        return cls.of(_NOBODY)

    @property
    def foreign(self) -> bool:
        """Whether it is another user than the one that we run as."""
        return self.uid != os.geteuid()

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.foreign:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def write(self, path: Path, text: str) -> None:
        """Write a file that only the account can read, as a whole or not at all."""
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with open(draft, "x", encoding="utf-8", opener=_private) as file:
            file.write(text)
        self.give(draft)
        draft.replace(path)

    def spawn(self, command: Sequence[str | Path], output: int, pass_fds: Collection[int]) -> subprocess.Popen[bytes]:
        """Start a program as the account, out of reach of our terminal's Ctrl-C."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",  # ours may be closed to the account
            env=_ENVIRONMENT,
            user=self.uid if self.foreign else None,
            group=self.gid if self.foreign else None,
            extra_groups=os.getgrouplist(self.name, self.gid) if self.foreign else None,
            umask=0o077,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )

    async def run(self, *command: str | Path, pass_fds: Collection[int] = ()) -> tuple[int, str]:
        """Run a program as the account; return its exit code and what it printed."""
        # Not by the event loop's own subprocesses: uvloop's can't change the user.
        process = self.spawn(command, subprocess.PIPE, pass_fds)
        ending = asyncio.ensure_future(asyncio.to_thread(process.communicate))
        try:
            output, _ = await asyncio.shield(ending)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children too: they would hold the pipe open
            await ending
            raise
        return process.returncode, output.decode(errors="replace")

    async def can_enter(self, directory: Path) -> bool:
        """Tell whether the account can reach what lies in a folder."""
        # Asking for real sees what mode bits don't tell: ACLs, mounts, security modules.
        status, _ = await self.run("/bin/sh", "-c", 'test -d "$1" && test -x "$1"', "sh", directory)
        return status == 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

"""The user that runs the server, and programs run as that user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import random
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from perdure.errors import EmbeddedServerError

# No system assigns these ids: login.defs ends at 60000, and the ranges of systemd leave them out.
_UNUSED: Final = range(60706, 61184)

# The caller's environment (PGDATA, PGPORT, locale) may be meant for other PostgreSQL servers.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class Account:
    """A user of the system. PostgreSQL refuses to run as root, so root uses another user's account."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of(cls, uid: int) -> Account:
        """Return the account of a user id, even if /etc/passwd doesn't list it."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, os.getegid() if uid == os.geteuid() else uid, str(uid))
        return cls(uid, entry.pw_gid, entry.pw_name)

    @classmethod
    def unused(cls) -> Account:
        """Choose a user id that no user and no process has."""
        busy = set[int]()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                busy.add(process.stat().st_uid)
        for uid in random.sample(_UNUSED, len(_UNUSED)):
            account = cls.of(uid)
            if uid not in busy and not account.is_listed:
                return account
        raise EmbeddedServerError(f"all user ids from {_UNUSED[0]} to {_UNUSED[-1]} are in use: free some")

    @classmethod
    def listed(cls) -> Account:
        """Choose a user that /etc/passwd lists and that isn't root."""
        entries = sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody")
        for entry in entries:
            if entry.pw_uid != 0:
                return cls(entry.pw_uid, entry.pw_gid, entry.pw_name)
        raise EmbeddedServerError("/etc/passwd lists no user but root, and PostgreSQL refuses root: add a user")

    @property
    def is_listed(self) -> bool:
        """Whether /etc/passwd lists the user, as `initdb` requires."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    @property
    def is_other_user(self) -> bool:
        """Whether this process runs as another user."""
        return self.uid != os.geteuid()

    def in_group(self, gid: int) -> Account:
        """Return the same user with another group as its only group."""
        return replace(self, gid=gid, name="")

    def become(self) -> None:
        """Change the user of this process, for good."""
        os.setgroups(self._groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.umask(0o077)

    def spawn(self, command: Sequence[str | Path], output: int, pass_fds: Collection[int]) -> subprocess.Popen[bytes]:
        """Start a program as this user, in its own session, so that Ctrl-C doesn't reach it."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",  # the working directory may be closed to the user
            env=_ENVIRONMENT,
            user=self.uid if self.is_other_user else None,
            group=self.gid if self.is_other_user else None,
            extra_groups=self._groups if self.is_other_user else None,
            umask=0o077,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )

    async def run(self, *command: str | Path, pass_fds: Collection[int] = ()) -> tuple[int, str]:
        """Run a program as this user. Return its exit code and output."""
        # Not with the subprocesses of the event loop, because those of uvloop can't change the user.
        process = self.spawn(command, subprocess.PIPE, pass_fds)
        ending = asyncio.ensure_future(asyncio.to_thread(process.communicate))
        try:
            output, _ = await asyncio.shield(ending)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its children, which would hold the pipe open
            await ending
            raise
        return process.returncode, output.decode(errors="replace")

    async def can_enter(self, directory: Path) -> bool:
        """Return whether the user can enter a folder."""
        # A real attempt respects what mode bits don't show: ACLs, mounts, security modules.
        status, _ = await self.run("/bin/sh", "-c", 'test -d "$1" && test -x "$1"', "sh", directory)
        return status == 0

    @property
    def _groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid) if self.name else [self.gid]

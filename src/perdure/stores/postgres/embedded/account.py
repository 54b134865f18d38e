"""The user that the server runs as, and what that user can reach."""

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

# No system gives these to people or programs: login.defs ends at 60000, systemd's own ranges leave these out.
_UNUSED: Final = range(60706, 61184)

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
    def unused(cls) -> Account:
        """Choose a user id that nobody has: no user, and no process."""
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
        """Choose a user that the system lists, and that isn't root."""
        entries = sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody")
        for entry in entries:
            if entry.pw_uid != 0:
                return cls(entry.pw_uid, entry.pw_gid, entry.pw_name)
        raise EmbeddedServerError("/etc/passwd lists no user but root, and PostgreSQL refuses root: add a user")

    @property
    def is_listed(self) -> bool:
        """Whether it is among the system's users, as `initdb` wants it."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    @property
    def foreign(self) -> bool:
        """Whether it is another user than the one that we run as."""
        return self.uid != os.geteuid()

    def in_group(self, gid: int) -> Account:
        """The same user in another group, and in no other."""
        return replace(self, gid=gid, name="")

    def become(self) -> None:
        """Be this user from now on, with no way back."""
        os.setgroups(self._groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.umask(0o077)

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
            extra_groups=self._groups if self.foreign else None,
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

    @property
    def _groups(self) -> list[int]:
        return os.getgrouplist(self.name, self.gid) if self.name else [self.gid]

"""Joins and leaves the shared server: directly as the owner of its folder, or, for root, in a process of the owner.

The first process to join starts the server; the last one to leave stops it. Processes that joined share `users.lock`.
A process that joins or leaves holds `start.lock` meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from perdure.stores.postgres.embedded.cluster import PASSFILE, PASSWORD, check_version, staged_cluster
from perdure.stores.postgres.embedded.launch import Launch
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from perdure.stores.postgres.embedded.owner_process import ActionResult, UnlistedUserError, run_as_owner
from perdure.stores.postgres.embedded.postmaster import Postmaster

_START_LOCK = "start.lock"
_USERS_LOCK = "users.lock"


class JoinedServer(NamedTuple):
    """A running server, and the share of this process in it."""

    postmaster: Postmaster
    password: str
    share: FileLock


async def join(launch: Launch, share: FileLock | None) -> JoinedServer:
    """Join the server, or start it. Uses `share` if this process has one already."""
    location = launch.location
    if location.account.is_other_user:
        return await _join_as_owner(launch, share)
    check_version(location, launch.binaries.major)
    with location.folder() as folder:
        folder.read(PASSWORD)  # raises before a server runs if the file is unusable
        async with exclusively(FileLock.on(location.path / _START_LOCK)):
            taken = share or FileLock.on(location.path / _USERS_LOCK)
            try:
                postmaster = await launch.ensure_running()
                taken.try_shared()  # only the last process to leave has it exclusively, and only with the start lock
                password = folder.read(PASSWORD) or ""
                if postmaster.tcp:
                    folder.write(PASSFILE, f"127.0.0.1:{postmaster.port}:*:postgres:{password}\n")
                return JoinedServer(postmaster, password, taken)
            except BaseException:
                if share is None:
                    taken.close()
                raise


async def leave(launch: Launch, share: FileLock) -> None:
    """Give up a share, which the caller closes. The last one to leave stops the server."""
    location = launch.location
    if location.account.is_other_user:
        await run_as_owner(location.account, "leave", launch.request(), share.fd)
        return
    async with exclusively(FileLock.on(location.path / _START_LOCK)):
        if share.try_exclusive():
            await launch.stop()


async def _join_as_owner(launch: Launch, share: FileLock | None) -> JoinedServer:
    try:
        answer = await _request_join(launch, share)
    except UnlistedUserError:
        async with staged_cluster(launch.location.account, launch.binaries, launch.settings) as staged:
            answer = await _request_join(replace(launch, staged=staged), share)
    postmaster, password = Postmaster.decoded(answer.text or "")
    if share is None:
        assert answer.fd is not None  # noqa: S101 - the action "join" returns the share that it took
        share = FileLock(answer.fd)
    return JoinedServer(postmaster, password, share)


async def _request_join(launch: Launch, share: FileLock | None) -> ActionResult:
    return await run_as_owner(launch.location.account, "join", launch.request(), None if share is None else share.fd)

"""Taking part in a server, and leaving it: in person as its owner, for root by an errand as its owner.

The first to come starts the server, the last to go stops it. `users.lock` is shared by those who take part;
`start.lock` is held by whichever comes or goes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from perdure.stores.postgres.embedded.cluster import PASSWORD, check_version, staged_cluster
from perdure.stores.postgres.embedded.errand import Answer, UnlistedUserError, send
from perdure.stores.postgres.embedded.launch import Launch
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from perdure.stores.postgres.embedded.postmaster import Postmaster

_START_LOCK = "start.lock"
_USERS_LOCK = "users.lock"


class Joined(NamedTuple):
    """A server that runs, and our share in it."""

    postmaster: Postmaster
    password: str
    share: FileLock


async def join(launch: Launch, share: FileLock | None) -> Joined:
    """Join a server, or start it. A share that is given is kept."""
    place = launch.place
    if place.account.foreign:
        return await _join_by_errand(launch, share)
    check_version(place, launch.binaries.major)
    with place.folder() as folder:
        folder.read(PASSWORD)  # what can't be used is found before a server runs
        async with exclusively(FileLock.on(place.path / _START_LOCK)):
            taken = share or FileLock.on(place.path / _USERS_LOCK)
            try:
                postmaster = await launch.up()
                taken.try_shared()  # a last user has it alone, but only under the lock that we hold now
                return Joined(postmaster, folder.read(PASSWORD) or "", taken)
            except BaseException:
                if share is None:
                    taken.close()
                raise


async def leave(launch: Launch, share: FileLock) -> None:
    """Give up a share, which the caller closes; the last share stops the server."""
    place = launch.place
    if place.account.foreign:
        await send(place.account, "leave", launch.request(), share.fd)
        return
    async with exclusively(FileLock.on(place.path / _START_LOCK)):
        if share.try_exclusive():
            await launch.down()


async def _join_by_errand(launch: Launch, share: FileLock | None) -> Joined:
    try:
        answer = await _ask_to_join(launch, share)
    except UnlistedUserError:
        async with staged_cluster(launch.place.account, launch.binaries, launch.settings) as staged:
            answer = await _ask_to_join(replace(launch, staged=staged), share)
    postmaster, password = Postmaster.decoded(answer.text or "")
    if share is None:
        assert answer.fd is not None  # noqa: S101 - an errand that joins brings the share that it took
        share = FileLock(answer.fd)
    return Joined(postmaster, password, share)


async def _ask_to_join(launch: Launch, share: FileLock | None) -> Answer:
    return await send(launch.place.account, "join", launch.request(), None if share is None else share.fd)

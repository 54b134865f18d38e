"""The user that runs the embedded PostgreSQL for root, and the server that root and that user share."""

import asyncio
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.cluster import staged_cluster
from perdure.stores.postgres.embedded.path_survey import survey
from perdure.stores.postgres.embedded.postmaster import processes_of
from tests.stores.postgres.embedded.owners import (
    UNLISTED,
    everything_in,
    once,
    only_root,
    own,
    own_link,
    text_of,
    uid_of,
)
from tests.stores.postgres.embedded.projects import FAST, Neighbour, ask, location_of, postmaster_of, project, runs

pytestmark = [pytest.mark.server, only_root]


async def test_all_that_is_made_in_the_folder_of_a_user_is_his(directory: Path, user: Account) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert server.location == directory
        made = [*everything_in(directory), postmaster_of(directory).sockets]
        assert {path.lstat().st_uid for path in made} == {user.uid}
        status = text_of(Path(f"/proc/{postmaster_of(directory).pid}/status"))
        assert f"Uid:\t{user.uid}\t{user.uid}\t{user.uid}\t{user.uid}\n" in status


async def test_a_user_whom_the_system_does_not_list_gets_a_server(folder: Path) -> None:
    with project(own(folder / "home", UNLISTED)) as directory:
        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert await ask(server, "SELECT 1") == 1
            assert server.data_directory.stat().st_uid == UNLISTED.uid
        with Neighbour(directory, UNLISTED) as neighbour:
            neighbour.joined()
            neighbour.leave()


async def test_each_project_of_root_has_a_user_of_its_own_that_nothing_else_has(folder: Path) -> None:
    found = set[int]()
    for name in ("one", "two"):
        (folder / name).mkdir()
        with project(folder / name) as directory:
            async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
                uid = server.data_directory.stat().st_uid
                assert uid == uid_of(directory)
                assert not Account.of(uid).is_listed
                ours = set(processes_of(server.data_directory))
                assert {pid for pid in processes() if owner_of(pid) == uid} == ours
            async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
                assert server.data_directory.stat().st_uid == uid
            found.add(uid)

    assert len(found) == 2


async def test_a_folder_of_root_that_holds_other_things_is_not_given_away(folder: Path) -> None:
    (folder / "kept").touch()
    with project(folder / "unused"):
        async with EmbeddedPostgreSQL(folder, settings=FAST) as server:
            assert server.location != folder
            location = server.location

    assert uid_of(folder) == 0
    assert location_of(folder) == location
    await asyncio.to_thread(shutil.rmtree, location)


async def test_what_makes_the_data_directory_is_out_of_reach_of_its_namesakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Account.listed()
    seen: list[int] = []
    run = Account.run

    async def watched(self: Account, *command: Any, **options: Any) -> tuple[int, str]:
        running = asyncio.create_task(run(self, *command, **options))
        if any(str(part).startswith("--pgdata=") for part in command):
            data = next(str(part).removeprefix("--pgdata=") for part in command if "--pgdata" in str(part))
            await asyncio.to_thread(wait_for, Path(data) / "global")
            [pid] = [pid for pid in processes() if {"initdb", f"--pgdata={data}"} <= words_of(pid)]
            script = f"cat {data}/PG_VERSION {data}/../password.txt /proc/{pid}/environ /proc/{pid}/maps"
            seen.append((await run(maker, "/bin/sh", "-c", script))[1].count("Permission denied"))
        return await running

    monkeypatch.setattr(Account, "run", watched)
    account = Account.unused()
    binaries = await Binaries.find(18).reachable_by(account)
    async with staged_cluster(account, binaries, FAST) as staged:
        assert {path.lstat().st_uid for path in (staged, *staged.rglob("*"))} == {account.uid}

    assert seen == [4]
    assert not staged.exists()


async def test_a_place_that_many_can_change_is_refused(folder: Path, user: Account) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    theirs = own(own(folder / "one", user) / "two", UNLISTED)

    with pytest.raises(EmbeddedServerError, match=rf"other users can write to {folder}/open"):
        await once(folder / "open" / ".perdure")
    with pytest.raises(EmbeddedServerError, match=r"is below folders of several users \(61999, '\w+'\)"):
        await once(theirs / ".perdure")

    assert not any((folder / "open").iterdir())


def test_a_path_is_kept_by_those_who_own_its_folders_and_links(folder: Path, user: Account) -> None:
    home = own(folder / "home", user)
    (folder / "roots").mkdir()
    (folder / "link").symlink_to("roots")
    own_link(home / "link", folder / "roots", user)
    (folder / "loop").symlink_to("loop")

    assert survey(folder / "link" / "a" / "b").controller == 0
    assert survey(folder / "link" / "a" / "b").path == folder / "roots" / "a" / "b"
    assert survey(folder / "link" / "a" / "b").missing == ("a", "b")
    assert survey(home / "a").controller == user.uid
    assert (survey(home / "link").controller, survey(home / "link").path) == (user.uid, folder / "roots")
    with pytest.raises(OSError, match="loop"):
        survey(folder / "loop")


async def test_what_an_errand_meets_is_told(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    await once(directory)
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        await EmbeddedPostgreSQL(directory, settings={**FAST, "shared_buffers": "plenty"}).start()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.001)


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def owner_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None


def words_of(pid: int) -> set[str]:
    """The name of a process's program, and its arguments."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return set()
    return {Path(words[0]).name, *words[1:]}


async def test_a_user_and_root_share_the_server_of_the_users_private_home(directory: Path, user: Account) -> None:
    with Neighbour(directory, user) as neighbour:
        url = neighbour.joined()["url"]
        assert uid_of(directory) == user.uid
        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert (server.url, server.location) == (url, directory)
            neighbour.leave()
            assert await ask(server, "SELECT 1") == 1

    assert not runs(directory)


async def test_what_root_started_in_a_users_home_the_user_can_go_on_with(directory: Path, user: Account) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert server.location == directory
        with Neighbour(directory, user) as neighbour:
            assert neighbour.joined()["url"] == server.url
            neighbour.leave()

    with Neighbour(directory, user) as neighbour:
        neighbour.joined()
        neighbour.leave()


async def test_where_the_user_can_not_write_in_the_temporary_folder_of_root_another_is_taken(
    folder: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1
        assert postmaster_of(directory).sockets.parent != folder

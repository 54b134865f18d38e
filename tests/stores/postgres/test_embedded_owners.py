"""Root starts the embedded PostgreSQL in the folder of another user, who may be hostile; and who runs it for root.

The tests play that user: they put links and lies into the folder, and look at what of root's was touched.
"""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
from tests.stores.postgres.embedded import FAST, Neighbour, ask, location_of, postmaster_of, project, runs

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can become other users")
pytestmark = only_root

SECRET = "only root reads or writes this\n"
UNLISTED = Account(61999, 61999, "61999")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def user() -> Account:
    """A user that the system lists."""
    return Account.listed()


@pytest.fixture
def directory(folder: Path, user: Account) -> Iterator[Path]:
    """The `.perdure` of that user's project, which isn't made yet."""
    with project(own(folder / "home", user)) as directory:
        yield directory


@pytest.fixture
def secret(folder: Path) -> Path:
    """A file of root's."""
    path = folder / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


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


async def test_a_log_that_is_a_link_is_not_written(directory: Path, secret: Path) -> None:
    await once(directory)
    log = directory / "postgresql.log"
    log.unlink()
    log.symlink_to(secret)

    await refused(directory, "postgresql.log is a link")

    assert text_of(secret) == SECRET


async def test_a_log_that_is_a_second_name_of_a_file_of_root_is_not_written(directory: Path, secret: Path) -> None:
    await once(directory)
    (directory / "postgresql.log").unlink()
    os.link(secret, directory / "postgresql.log")

    await refused(directory, "Permission denied")

    assert text_of(secret) == SECRET
    assert uid_of(secret) == 0


@pytest.mark.parametrize("name", ["postgresql.log", "server.lock", "start.lock", "users.lock", "endpoint.txt"])
async def test_a_file_with_a_second_name_is_not_used(directory: Path, user: Account, name: str) -> None:
    await once(directory)
    other = empty(directory.parent / "other", user)
    (directory / name).unlink(missing_ok=True)
    os.link(other, directory / name)

    await refused(directory, f"{name} has a second name")

    assert text_of(other) == ""


async def test_a_pipe_instead_of_a_file_does_not_stop_root(directory: Path, user: Account) -> None:
    await once(directory)
    (directory / "postgresql.log").unlink()
    os.mkfifo(directory / "postgresql.log")
    os.chown(directory / "postgresql.log", user.uid, user.gid)

    await refused(directory, "postgresql.log")


@pytest.mark.parametrize("name", ["server.lock", "start.lock", "users.lock", "endpoint.txt", "password.txt"])
async def test_no_file_is_reached_by_a_link(directory: Path, secret: Path, name: str) -> None:
    await once(directory)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(secret)

    await refused(directory, f"{name} is a link")

    assert (text_of(secret), uid_of(secret)) == (SECRET, 0)


@pytest.mark.parametrize("name", ["PG_VERSION", "postmaster.pid"])
async def test_no_file_of_the_data_directory_is_reached_by_a_link(directory: Path, secret: Path, name: str) -> None:
    await once(directory)
    (directory / "data" / name).unlink(missing_ok=True)
    (directory / "data" / name).symlink_to(secret)

    await refused(directory, f"{name} is a link")

    assert text_of(secret) == SECRET


async def test_the_process_that_a_false_postmaster_file_names_gets_no_signal(directory: Path) -> None:
    with victim_of_root() as victim:
        server = EmbeddedPostgreSQL(directory, settings=FAST)
        await server.start()
        tell_lies(directory / "data" / "postmaster.pid", postmaster_of(directory).pid, victim.pid)

        await server.stop()

        victim.communicate(b"\n")
    assert victim.returncode == 0
    assert not runs(directory)


async def test_a_lock_that_the_owner_holds_brings_no_signal_to_anybody(
    directory: Path, user: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgreSQL(directory, settings=FAST)
    await server.start()
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, number: signalled.append(fd))

    await server.stop()

    assert signalled == []  # root signals nothing itself: the server's own user does


async def test_a_record_that_is_a_link_is_not_followed(folder: Path, directory: Path, user: Account) -> None:
    own(directory, user)
    (folder / "elsewhere").mkdir()
    (folder / "paths").write_text(f"{folder / 'elsewhere'}\n")
    (directory / "location.txt").symlink_to(folder / "paths")

    await refused(directory, r"location.txt is a link")

    assert list((folder / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("controller", [0, UNLISTED.uid])
async def test_a_record_that_names_a_folder_of_somebody_else_is_refused(
    folder: Path, directory: Path, user: Account, controller: int
) -> None:
    own(directory, user)
    (folder / "elsewhere").mkdir()
    os.chown(folder / "elsewhere", controller, controller)
    (directory / "location.txt").write_text(f"{folder / 'elsewhere'}\n")
    os.chown(directory / "location.txt", user.uid, user.gid)

    await refused(directory, "which isn't a folder of the embedded PostgreSQL")

    assert list((folder / "elsewhere").iterdir()) == []


async def test_root_makes_nothing_itself_where_the_user_could_exchange_it(
    directory: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exchanged(path: Any, *arguments: Any, **options: Any) -> None:
        """As soon as the folder is his, the user puts a link where root is about to write."""
        given = Path(path)
        if given == directory:
            (given / ".gitignore").symlink_to(secret)
        chown(path, *arguments, **options)

    chown = os.chown
    monkeypatch.setattr(os, "chown", exchanged)

    await once(directory)

    assert text_of(secret) == SECRET


async def test_a_data_directory_that_is_a_link_is_not_followed(folder: Path, directory: Path, user: Account) -> None:
    own(directory, user)
    theirs = own(folder / "theirs", user)
    empty(theirs / "kept", user)
    (directory / "data").symlink_to(theirs)

    await refused(directory, "data is a link")

    assert names_in(theirs) == ["kept"]
    assert (directory / "data").is_symlink()


async def test_a_link_to_a_folder_of_root_lets_nobody_write_there(folder: Path, directory: Path, user: Account) -> None:
    (folder / "roots").mkdir(mode=0o755)
    own_link(directory, folder / "roots", user)

    with pytest.raises(EmbeddedServerError, match="Permission denied"):
        await once(directory)

    assert list((folder / "roots").iterdir()) == []


async def test_sockets_of_others_are_left_alone(folder: Path, directory: Path, user: Account) -> None:
    await once(directory)
    (folder / "sockets").mkdir(mode=0o700)
    (folder / "sockets" / ".s.PGSQL.5432").touch()
    (directory / "link").symlink_to(folder / "sockets")
    for name in (folder / "sockets", directory / "link"):
        (directory / "endpoint.txt").write_text(f"{name}\n5432\n")
        os.chown(directory / "endpoint.txt", user.uid, user.gid)
        await once(directory)

    assert (folder / "sockets" / ".s.PGSQL.5432").exists()


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

"""Root starts the embedded PostgreSQL in the folder of another user, who may be hostile.

The tests play that user: they put links and lies into the folder, and check which files of root were touched.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from tests.stores.postgres.embedded.owners import (
    SECRET,
    UNLISTED,
    empty,
    names_in,
    once,
    only_root,
    own,
    own_link,
    refused,
    tell_lies,
    text_of,
    uid_of,
    victim_of_root,
)
from tests.stores.postgres.embedded.projects import FAST, postmaster_of, runs

pytestmark = [pytest.mark.server, only_root]


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

"""Where the embedded PostgreSQL can live, and as whom."""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.files import Folder
from perdure.stores.postgres.embedded.location import create_folder, shared_folder
from tests.stores.postgres.embedded.projects import FAST, ask, project

pytestmark = pytest.mark.server  # the tests start servers of their own

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can become other users")
only_users = pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root can't be kept out of a folder")

SYSTEM_FOLDERS = "perdure.stores.postgres.embedded.location._SYSTEM_FOLDERS"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize(
    "name", ["long" + "/directory" * 14, "- spaces and Überwachung 監視", "quotes'\"`$HOME 100%d,a=b"]
)
async def test_any_path_will_do(public_folder: Path, name: str) -> None:
    home = public_folder / name
    home.mkdir(parents=True)

    with project(home) as directory:
        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert await ask(server, "SELECT 1") == 1
            assert server.location == directory


async def test_the_projects_folder_is_kept_out_of_version_control(public_folder: Path) -> None:
    with project(public_folder) as directory:
        async with EmbeddedPostgreSQL(directory, settings=FAST):
            assert (directory / ".gitignore").read_text() == "*\n"


def test_processes_that_settle_a_project_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    both_are_there = threading.Barrier(2, timeout=30)

    def settle() -> None:
        for attempt in range(200):
            with Folder.open(tmp_path) as start:
                both_are_there.wait()
                create_folder(start, (str(attempt), ".perdure"))

    with ThreadPoolExecutor() as threads:
        assert [each.result() for each in [threads.submit(settle), threads.submit(settle)]] == [None, None]

    assert {file.read_text() for file in tmp_path.glob("*/.perdure/*")} == {"*\n"}


@only_root
async def test_root_in_a_private_home_gets_a_place_that_the_servers_user_can_enter(
    public_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = public_folder / "home"
    home.mkdir(mode=0o700)
    with project(home) as directory, caplog.at_level(logging.INFO):
        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert await ask(server, "SELECT 1") == 1
            assert server.data_directory.stat().st_uid != 0
            location = server.location

        assert location != directory
        assert (directory / "location.txt").read_text().startswith(f"{location}\n")
        async with EmbeddedPostgreSQL(directory, settings=FAST) as again:
            assert again.location == location
        assert caplog.text.count(str(location)) == 1


@only_root
async def test_a_place_that_is_gone_is_told(public_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = public_folder / "home"
    home.mkdir(mode=0o700)
    with project(home) as directory:
        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            location = server.location
        shutil.rmtree(location)

        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert server.location != location
        assert f"names {location}, which doesn't exist" in caplog.text


@only_root
async def test_programs_in_a_private_environment_are_copied_once(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SYSTEM_FOLDERS, (str(public_folder),))
    private = public_folder / "venv"
    private.mkdir(mode=0o700)
    package = Binaries.find(18).package
    (private / package.name).symlink_to(package)
    (private / f"{package.name}.libs").symlink_to(package.parent / f"{package.name}.libs")

    def find_in_private(major: int) -> Binaries:
        return Binaries(major, private / package.name)

    monkeypatch.setattr(Binaries, "find", find_in_private)

    with project(public_folder) as directory:
        for _ in range(2):
            async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
                assert await ask(server, "SELECT 1") == 1

    copies = (public_folder / "perdure").glob("postgresql-*")
    assert [copy.name.split("-")[:2] for copy in copies] == [["postgresql", "18"]]


@only_root
async def test_a_shared_folder_that_somebody_else_made_is_not_used(
    public_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SYSTEM_FOLDERS,
        (str(public_folder), str(public_folder / "missing")),
    )
    (public_folder / "perdure").mkdir()
    shutil.chown(public_folder / "perdure", "nobody")

    with pytest.raises(EmbeddedServerError, match="PERDURE_EMBEDDED_DIRECTORY"):
        shared_folder()


@only_users
async def test_a_folder_of_another_user_is_an_error_that_says_so() -> None:
    with pytest.raises(EmbeddedServerError, match="can't use"):
        await EmbeddedPostgreSQL("/proc/.perdure").start()

"""Starting, joining and leaving the embedded PostgreSQL."""

import asyncio
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from perdure.errors import EmbeddedServerError, InvalidArgumentError, MissingExtraError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.locks import FileLock, exclusively
from tests.stores.postgres.embedded.projects import FAST, Neighbour, ask, ask_url, data_of, postmaster_of, project, runs

pytestmark = pytest.mark.server  # the tests start servers of their own


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose data directory is made once; each test leaves the server stopped."""
    with project(tmp_path_factory.mktemp("project")) as directory:
        yield directory


async def test_a_server_runs_while_somebody_has_a_share(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert await ask(server, "SELECT current_user || ' ' || current_setting('server_encoding')") == "postgres UTF8"
        assert server.data_directory == server.location / "data"

    assert not runs(directory)


async def test_a_database_of_any_name_has_a_url(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        await ask(server, 'CREATE DATABASE "ä/b c?d"')

        assert await ask_url(server.url_for("ä/b c?d"), "SELECT current_database()") == "ä/b c?d"


async def test_a_second_start_keeps_the_data(directory: Path, record_property: Callable[[str, object], None]) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        await ask(server, "CREATE TABLE kept_on_stop AS SELECT 7 AS value")

    begun = time.perf_counter()
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        record_property("second_start_seconds", time.perf_counter() - begun)
        assert await ask(server, "SELECT value FROM kept_on_stop") == 7


async def test_processes_share_one_server_and_the_last_stops_it(directory: Path) -> None:
    server = EmbeddedPostgreSQL(directory, settings=FAST)
    await server.start()
    with Neighbour(directory) as neighbour:
        assert neighbour.joined()["url"] == server.url
        await server.stop()
        assert runs(directory)

        neighbour.leave()

    assert not runs(directory)


async def test_shares_of_one_process_count_each(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as first:
        async with EmbeddedPostgreSQL(directory, settings=FAST) as second:
            assert first.url == second.url

        assert await ask(first, "SELECT 1") == 1


async def test_processes_that_start_at_once_get_the_same_server(new_directory: Path) -> None:
    neighbours = [Neighbour(new_directory) for _ in range(4)]
    try:
        assert len({neighbour.joined()["url"] for neighbour in neighbours}) == 1
        for neighbour in neighbours:
            assert runs(new_directory)
            neighbour.leave()
        assert not runs(new_directory)
    finally:
        for neighbour in neighbours:
            neighbour.kill()


async def test_starting_and_stopping_twice_is_harmless(directory: Path) -> None:
    server = EmbeddedPostgreSQL(directory, settings=FAST)
    await asyncio.gather(server.start(), server.start())
    await server.ensure_running()
    await server.stop()
    await server.stop()

    assert not runs(directory)


async def test_the_server_is_in_a_session_of_its_own(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST):
        assert os.getsid(postmaster_of(directory).pid) != os.getsid(0)


async def test_a_forked_child_can_not_stop_its_parents_server(directory: Path) -> None:
    server = EmbeddedPostgreSQL(directory, settings=FAST)

    def in_child() -> None:
        asyncio.run(server.stop())

    await server.start()
    await asyncio.to_thread(_run_forked, in_child)

    assert await ask(server, "SELECT 1") == 1
    await server.stop()
    assert not runs(directory)


async def test_settings_reach_the_server(directory: Path) -> None:
    settings = {**FAST, "max_connections": "17", "application_name": "it's\n\\here"}
    async with EmbeddedPostgreSQL(directory, settings=settings) as server:
        assert await ask(server, "SHOW max_connections") == "17"
        assert await ask(server, "SELECT current_setting('application_name')") == "it's\\x0a\\here"


async def test_a_server_that_does_not_start_tells_why(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        await EmbeddedPostgreSQL(directory, settings={**FAST, "shared_buffers": "plenty"}).start()

    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["port", "Listen_Addresses", "unix_socket_directories", "two words", "a'b", ""])
def test_settings_that_can_not_be_given_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="settings"):
        EmbeddedPostgreSQL(settings={name: "1"})


async def test_a_port_is_open_only_if_asked_and_wants_the_password(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        with pytest.raises(EmbeddedServerError, match="tcp=True"):
            server.tcp_url_for("postgres")

    async with EmbeddedPostgreSQL(directory, settings=FAST, tcp=True) as server:
        assert await ask_url(server.tcp_url_for("postgres"), "SELECT inet_server_addr()::text") == "127.0.0.1/32"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.tcp_url_for("postgres"), password="wrong")


@pytest.mark.parametrize(("made_by", "asked_for"), [("19", 18), ("16", 18)])
async def test_data_of_another_major_version_is_refused(directory: Path, made_by: str, asked_for: int) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST):
        pass
    version = data_of(directory) / "PG_VERSION"
    version.write_text(f"{made_by}\n")

    with pytest.raises(EmbeddedServerError, match=f"created by PostgreSQL {made_by}.*major={made_by}"):
        await EmbeddedPostgreSQL(directory, major=asked_for).start()

    version.write_text("18\n")


async def test_postgresql_16_runs_too(new_directory: Path) -> None:
    async with EmbeddedPostgreSQL(new_directory, major=16, settings=FAST) as server:
        assert str(await ask(server, "SHOW server_version")).startswith("16.")


async def test_a_version_that_the_wheel_does_not_bring_is_refused(directory: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="16 or 18"):
        await EmbeddedPostgreSQL(directory, major=17).start()


async def test_a_missing_wheel_names_the_extra(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)

    with pytest.raises(MissingExtraError, match=r"perdure\[embedded\]"):
        await EmbeddedPostgreSQL(directory).start()


def test_the_environment_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert EmbeddedPostgreSQL().directory == tmp_path / ".perdure"

    monkeypatch.setenv("PERDURE_EMBEDDED_DIRECTORY", str(tmp_path / "elsewhere"))
    assert EmbeddedPostgreSQL().directory == tmp_path / "elsewhere"


async def test_what_only_a_started_server_knows_is_refused_before() -> None:
    server = EmbeddedPostgreSQL()

    with pytest.raises(EmbeddedServerError, match="async with"):
        _ = server.url
    with pytest.raises(EmbeddedServerError, match="async with"):
        await server.ensure_running()


async def test_waiting_for_a_lock_leaves_the_event_loop_free(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def wait() -> None:
        async with exclusively(FileLock.on(tmp_path / "lock")):
            held.set()

    async with exclusively(FileLock.on(tmp_path / "lock")):
        waiting = asyncio.create_task(wait())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not held.is_set()

    await waiting


def _run_forked(work: Callable[[], None]) -> None:
    # In a thread, since the child could not start an event loop inside of ours.
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0

"""The embedded PostgreSQL and everything that can be killed."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import perdure
from perdure.commit import ANY
from perdure.errors import EmbeddedServerError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from tests.stores.postgres.embedded.projects import (
    FAST,
    Neighbour,
    ask,
    data_of,
    kill_server,
    location_of,
    postmaster_of,
    project,
    runs,
    until_gone,
    wait_until_half_made,
)
from tests.stores.postgres.races import notes, texts

pytestmark = pytest.mark.server  # the tests start servers of their own


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose data directory is made once; each test leaves the server stopped."""
    with project(tmp_path_factory.mktemp("project")) as directory:
        yield directory


async def test_a_killed_server_is_revived_at_the_same_address(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 7 AS value")
        url = server.url
        kill_server(directory)

        await server.ensure_running()

        assert server.url == url
        assert await ask(server, "SELECT value FROM kept") == 7


async def test_all_who_share_a_killed_server_can_revive_it_at_once(directory: Path) -> None:
    async with (
        EmbeddedPostgreSQL(directory, settings=FAST) as first,
        EmbeddedPostgreSQL(directory, settings=FAST) as second,
    ):
        kill_server(directory)

        await asyncio.gather(*(server.ensure_running() for server in (first, second) * 3))

        assert await ask(first, "SELECT pg_postmaster_start_time()") == await ask(
            second, "SELECT pg_postmaster_start_time()"
        )


async def test_a_session_that_outlives_a_killed_server_does_not_hold_up_the_next(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        connection = await asyncpg.connect(server.url)
        session = connection.get_server_pid()
        busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
        is_busy = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {session} AND state = 'active'"
        while not await ask(server, is_busy):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        kill_server(directory)
        os.kill(session, 0)  # it computes, and doesn't notice

        await server.ensure_running()

        assert await ask(server, "SELECT 1") == 1
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)):
            await busy
        await until_gone(session)


async def test_a_killed_server_that_nobody_revived_can_be_left(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST):
        kill_server(directory)

    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_the_server_of_a_killed_owner_goes_on_until_the_next_user_leaves(directory: Path) -> None:
    with Neighbour(directory) as owner:
        url = owner.joined()["url"]
        owner.kill()

    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert server.url == url

    assert not runs(directory)


async def test_owner_and_server_killed_together_are_healed(directory: Path) -> None:
    with Neighbour(directory) as owner:
        owner.joined()
        kill_server(directory)
        owner.kill()

    async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_a_reboot_that_clears_the_temporary_folder_and_reuses_process_ids_is_healed(directory: Path) -> None:
    with Neighbour(directory) as bystander, Neighbour(directory) as owner:
        owner.joined()
        postmaster = postmaster_of(directory)
        bystander.joined()
        kill_server(directory)
        owner.kill()
        await until_gone(postmaster.pid)
        shutil.rmtree(postmaster.sockets)
        pidfile = data_of(directory) / "postmaster.pid"
        pidfile.write_text(pidfile.read_text().replace(str(postmaster.pid), str(bystander.process.pid), 1))

        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            assert await ask(server, "SELECT 1") == 1

        assert bystander.process.poll() is None


async def test_a_server_that_comes_back_at_another_address_is_found_by_an_open_store(directory: Path) -> None:
    async with perdure.connect(directory=directory) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))
        await store.read_stream("note-1")
        before = postmaster_of(directory)
        kill_server(directory)
        shutil.rmtree(before.sockets)

        await store.append_to_stream("note-1", 1, notes("b"))
        assert texts(await store.read_stream("note-1")) == ["a", "b"]
        assert postmaster_of(directory).sockets != before.sockets


async def test_a_data_directory_half_made_is_made_again(new_directory: Path) -> None:
    with Neighbour(new_directory) as owner:
        await asyncio.to_thread(wait_until_half_made, new_directory)
        owner.kill()
    assert not data_of(new_directory).exists()

    async with EmbeddedPostgreSQL(new_directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1

    assert not any(location_of(new_directory).glob("data.new-*"))


async def test_a_folder_that_is_no_data_directory_is_set_aside(new_directory: Path) -> None:
    async with EmbeddedPostgreSQL(new_directory, settings=FAST):
        pass
    (data_of(new_directory) / "PG_VERSION").unlink()

    async with EmbeddedPostgreSQL(new_directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1

    assert any(location_of(new_directory).glob("data.incomplete-*"))


@pytest.mark.parametrize("delay", [0.02, 0.2, 0.6])
async def test_a_start_that_is_cancelled_leaves_no_trouble(new_directory: Path, delay: float) -> None:
    first = EmbeddedPostgreSQL(new_directory, settings=FAST)
    starting = asyncio.create_task(first.start())
    await asyncio.sleep(delay)
    if starting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await starting
    else:  # a quick machine: there was nothing left to cancel
        await first.stop()

    async with EmbeddedPostgreSQL(new_directory, settings=FAST) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_a_server_that_was_killed_halfway_through_its_stop_is_waited_for(directory: Path) -> None:
    async with EmbeddedPostgreSQL(directory, settings=FAST):
        os.kill(postmaster_of(directory).pid, signal.SIGINT)

        async with EmbeddedPostgreSQL(directory, settings=FAST) as server:
            answer = None
            while answer is None:
                await server.ensure_running()
                # Until the signal has reached it, the dying server still takes connections, to no avail.
                with contextlib.suppress(asyncpg.CannotConnectNowError, OSError, asyncpg.ConnectionDoesNotExistError):
                    answer = await ask(server, "SELECT 1")
            assert answer == 1


async def test_a_server_that_can_not_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedServerError, match="can't use"):
        await EmbeddedPostgreSQL(tmp_path / "file" / ".perdure").start()

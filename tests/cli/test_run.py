"""Projections run until they are told to stop."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import asyncpg
import pytest

from perdure import PostgreSQLEventStore
from perdure.projections.operations import ProjectionOperations
from tests.cli.calling import STREAMING, Call, check_envelope, fill, start
from tests.stores.postgres.races import until_waiting


@contextmanager
def running(*arguments: str, database_url: str, **more: Any) -> Iterator[Popen[str]]:
    process = start(*arguments, database_url=database_url, **more)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_state(process: Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    envelope = json.loads(process.stdout.readline())
    check_envelope(envelope)
    return dict(envelope["data"])


@asynccontextmanager
async def batch_held_up(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[None]:
    """Entered once the projection of profiles waits within a batch, which goes on when this is left."""
    async with connection.transaction():
        await connection.execute("lock table user_profiles in share mode")
        await fill(database_url)
        await until_waiting(connection)
        yield


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_it_runs_all_projections_until_it_is_told_to_stop(
    store: PostgreSQLEventStore, database_url: str, ending: signal.Signals
) -> None:
    with running("--app", STREAMING, "run", "--json", database_url=database_url) as process:
        names = ["user_profiles", "content_popularity"]
        assert next_state(process) == {"state": "running", "projections": names, "drained": None}
        for name in names:
            await ProjectionOperations(store).wait_for(name, 6, timeout=30)

        process.send_signal(ending)

        assert next_state(process)["state"] == "stopping"
        assert next_state(process) == {"state": "stopped", "projections": names, "drained": True}
        assert process.wait(timeout=30) == 0


async def test_it_finishes_what_is_under_way(connection: asyncpg.Connection, database_url: str) -> None:
    with running("--app", STREAMING, "run", "user_profiles", "--json", database_url=database_url) as process:
        assert next_state(process)["state"] == "running"
        async with batch_held_up(connection, database_url):
            process.send_signal(signal.SIGTERM)
            assert next_state(process)["state"] == "stopping"

        assert next_state(process)["drained"] is True
        assert process.wait(timeout=30) == 0
    assert await connection.fetchval("select count(*) from user_profiles") > 0


async def test_what_takes_too_long_is_left_for_later(connection: asyncpg.Connection, database_url: str) -> None:
    command = ("--app", STREAMING, "run", "user_profiles", "--drain-timeout", "0.1", "--json")
    with running(*command, database_url=database_url) as process:
        assert next_state(process)["state"] == "running"
        async with batch_held_up(connection, database_url):
            process.send_signal(signal.SIGTERM)
            assert next_state(process)["state"] == "stopping"
            assert next_state(process)["drained"] is False
            assert process.wait(timeout=30) == 1
    assert await connection.fetchval("select count(*) from user_profiles") == 0


async def test_told_twice_it_does_not_wait(connection: asyncpg.Connection, database_url: str) -> None:
    command = ("--app", STREAMING, "run", "user_profiles", "--drain-timeout", "600", "--json")
    with running(*command, database_url=database_url) as process:
        assert next_state(process)["state"] == "running"
        async with batch_held_up(connection, database_url):
            process.send_signal(signal.SIGINT)
            assert next_state(process)["state"] == "stopping"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert process.communicate()[0] == ""
    assert await connection.fetchval("select count(*) from user_profiles") == 0


@pytest.mark.usefixtures("events")
async def test_it_runs_those_that_are_named(store: PostgreSQLEventStore, database_url: str) -> None:
    with running("--app", STREAMING, "run", "content_popularity", database_url=database_url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Running content_popularity. Ctrl-C stops.\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert out.splitlines()[-1] == "Stopped; all batches finished."
    assert [one.name for one in await ProjectionOperations(store).status()] == ["content_popularity"]


async def test_without_projections_there_is_nothing_to_run(perdure: Call, place: Path) -> None:
    (place / "bare.py").write_text("from perdure import Application\napp = Application()\n")

    answer = await perdure("--app", "bare", "run")

    assert (answer.status, answer.err.splitlines()[0]) == (
        1,
        "Error: the application has neither projections nor reactions",
    )


async def test_without_the_application_there_is_nothing_to_run(perdure: Call) -> None:
    answer = await perdure("run")

    assert answer.status == 2
    assert answer.err.endswith("Next: perdure --app module:name run\n")

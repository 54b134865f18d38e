"""Dump and restore: the log, its order, its guards and the checkpoints are in the new database as they were."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from perdure import NamespaceSharedError, OptimisticConcurrencyError, ProjectionTimeoutError, StoredEvent, schema
from perdure.commit import ANY, NO_STREAM
from perdure.errors import SchemaError
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.backup.programs import Programs, new_database
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages, Visited
from tests.schema.roles import new_role
from tests.stores.postgres.races import notes, other_connection, texts

pytestmark = pytest.mark.skipif(
    "PERDURE_TEST_DATABASE_URL" in os.environ, reason="the wheel's pg_dump may be older than the server"
)

RESTORES = {
    "at once": (("--format=custom",), ()),
    "by two sessions": (("--format=directory", "--jobs=2"), ("--jobs=2",)),
    "without triggers": (("--format=custom",), ("--disable-triggers",)),
}


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    with tempfile.TemporaryDirectory(prefix="perdure-backup-") as folder:
        yield await Programs.found(Path(folder))


@pytest.fixture
async def restored_url(server_url: str) -> AsyncIterator[str]:
    async with new_database(server_url) as url:
        yield url


class PagesAgain(Pages, table="pages", key="page", version=2):
    """The same rows, to be made anew."""


def visits(page: str, count: int) -> list[Visited]:
    return [Visited(page=page, visitor=str(n)) for n in range(count)]


async def roll_back(store: PostgreSQLEventStore) -> None:
    """Draw a position that stays a gap."""
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await store.append_to_stream("note-gone", ANY, notes("gone"), tx=tx)
            raise ZeroDivisionError


def _as_stored(stored: StoredEvent) -> tuple[object, ...]:
    where = (stored.stream_id, stored.stream_version, stored.global_position, stored.recorded_at)
    return (*where, stored.event_id, stored.event_type, stored.event_data, stored.stored_metadata)


@pytest.mark.parametrize("way", RESTORES)
async def test_a_restored_store_goes_on_where_it_was(
    way: str, store: PostgreSQLEventStore, database_url: str, restored_url: str, programs: Programs
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        await store.append_to_stream("page-a", ANY, visits("a", 3))
        await roll_back(store)
        saved = await store.append_to_stream("page-b", ANY, visits("b", 2))
        await service.wait_for("pages", saved, timeout=30)
    unread = await store.append_to_stream("page-a", ANY, visits("a", 1))
    await roll_back(store)
    before = await store.read_all_events()

    to_dump, to_restore = RESTORES[way]
    await programs.restore(await programs.dump(database_url, *to_dump), restored_url, *to_restore)

    assert await schema.verify(restored_url) == []
    async with PostgreSQLEventStore(restored_url) as restored:
        assert list(map(_as_stored, await restored.read_all_events())) == list(map(_as_stored, before))
        follower = restored.subscribe(saved.global_position, from_event_id=before[-2].event_id)
        assert (await anext(follower)).global_position == unread.global_position
        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await restored.append_to_stream("page-a", NO_STREAM, notes("late"))
        assert conflict.value.actual_version == 4
        async with ProjectionService(restored, [Pages()]) as service:
            added = await restored.append_to_stream("page-a", 4, visits("a", 1))
            assert added.global_position > before[-1].global_position + 1  # the last position drawn stays a gap
            await service.wait_for("pages", added, timeout=30)
        assert await check_against_fold(restored, restored_url, Pages()) == added.global_position
        async with other_connection(restored_url) as connection:
            assert await connection.fetchval("select visits from pages where page = 'a'") == 5
            with pytest.raises(asyncpg.PostgresError, match="never changed"):
                await connection.execute("delete from perdure.events")


async def restore_as(name: str, url: str, dump: str) -> None:
    """Restore a plain dump of the schema perdure under another name, which takes its place in front of each object.

    The types of Perdure's own events begin like the schema, and stay.
    """
    lines = re.sub(r'\bperdure(?="?\.(?!timer_|command_)|;)', name, dump).splitlines()
    async with other_connection(url) as connection:
        await connection.execute("\n".join(line for line in lines if not line.startswith("\\")))  # no words for psql


@pytest.mark.parametrize("is_beside", [True, False])
async def test_a_dump_restored_beside_the_original_is_refused_until_it_has_a_number_of_its_own(
    store: PostgreSQLEventStore, database_url: str, restored_url: str, programs: Programs, is_beside: bool
) -> None:
    await store.append_to_stream("note-1", ANY, notes("a", "b"))
    dump = await programs.dump(database_url, "--format=plain", "--inserts", "--no-owner", "--schema=perdure")
    url = database_url if is_beside else restored_url

    await restore_as("copy", url, await asyncio.to_thread(dump.read_text, "utf-8"))

    if is_beside:
        with pytest.raises(NamespaceSharedError, match="'perdure'"):
            await PostgreSQLEventStore(url, schema="copy").open()
        async with PostgreSQLEventStore(database_url) as original:
            await original.append_to_stream("note-1", 2, notes("c"))
        await schema.renumber(url, schema="copy")
    async with PostgreSQLEventStore(url, schema="copy") as copy, store.transaction() as tx:
        await store.append_to_stream("note-open", ANY, notes("open"), tx=tx)
        await copy.append_to_stream("note-1", 2, notes("d"))
        assert texts(await copy.read_all_events(category="note")) == ["a", "b", "d"]
    assert await schema.verify(url, schema="copy") == []


async def test_a_dump_under_running_appends_is_a_beginning_of_the_log(
    store: PostgreSQLEventStore, database_url: str, restored_url: str, programs: Programs
) -> None:
    done = asyncio.Event()

    async def append(writer: int) -> None:
        n = 0
        while not done.is_set():
            await store.append_to_stream(f"note-{writer}", n, notes(n))
            n += 1

    writers = [asyncio.create_task(append(writer)) for writer in range(8)]
    dump = await programs.dump(database_url, "--format=directory", "--jobs=2")
    done.set()
    await asyncio.gather(*writers)
    await programs.restore(dump, restored_url)

    assert await schema.verify(restored_url) == []
    async with PostgreSQLEventStore(restored_url) as restored:
        for writer in range(8):
            stream = texts(await restored.read_stream(f"note-{writer}"))
            assert stream == [str(n) for n in range(len(stream))]
            assert stream == texts(await store.read_stream(f"note-{writer}"))[: len(stream)]
        added = await restored.append_to_stream("note-new", NO_STREAM, notes("new"))
        assert [stored.global_position for stored in await restored.read_all_events()][-1] == added.global_position


async def test_grants_are_restored_with_the_store(
    database_url: str, restored_url: str, store: PostgreSQLEventStore, programs: Programs
) -> None:
    async with new_role(database_url) as (role, _):
        await schema.grant(database_url, role, "writer")
        dump = await programs.dump(database_url)
        await programs.restore(dump, restored_url)
        assert await schema.verify(restored_url) == []
        async with other_connection(restored_url) as connection:
            await connection.execute(f"drop owned by {role}")


async def test_a_restore_without_privileges_is_told_for_it_opens_the_functions_to_all(
    database_url: str, restored_url: str, store: PostgreSQLEventStore, programs: Programs
) -> None:
    await programs.restore(await programs.dump(database_url), restored_url, "--no-privileges")

    found = await schema.verify(restored_url)

    assert {(drift.kind, drift.object_type) for drift in found} == {("unexpected", "privilege")}
    assert any("append_batch" in drift.name and "public" in drift.name for drift in found)


async def test_data_alone_is_not_restored_over_a_schema_that_was_made_anew(
    database_url: str, restored_url: str, store: PostgreSQLEventStore, programs: Programs
) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("a"))
    await schema.apply(restored_url)
    dump = await programs.dump(database_url)

    for options in ((), ("--disable-triggers",)):
        with pytest.raises(AssertionError, match="migrations_pkey"):
            await programs.restore(dump, restored_url, "--data-only", "--single-transaction", *options)

    async with PostgreSQLEventStore(restored_url) as untouched:
        assert await untouched.read_all_events() == []


async def test_a_log_that_was_restored_without_its_sequence_is_refused(
    database_url: str, restored_url: str, store: PostgreSQLEventStore, programs: Programs
) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("a", "b"))
    await schema.apply(restored_url)
    dump = await programs.dump(database_url)
    await programs.restore(dump, restored_url, "--data-only", "--schema=perdure", "--table=events")

    with pytest.raises(SchemaError, match="the sequence of positions is behind the last event"):
        await PostgreSQLEventStore(restored_url).open()
    assert [drift.found for drift in await schema.verify(restored_url)] == ["behind the last event"]

    async with other_connection(restored_url) as connection:
        await connection.execute(
            "select setval('perdure.global_position', (select max(global_position) from perdure.events))"
        )
    async with PostgreSQLEventStore(restored_url) as mended:
        assert (await mended.append_to_stream("note-1", 2, notes("c"))).global_position == 3


async def test_a_log_that_was_restored_without_the_read_models_is_told(
    database_url: str, restored_url: str, store: PostgreSQLEventStore, programs: Programs
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("page-a", ANY, visits("a", 3))
        await service.wait_for("pages", saved, timeout=30)
    await programs.restore(await programs.dump(database_url, "--format=custom", "--schema=perdure"), restored_url)

    async with PostgreSQLEventStore(restored_url) as restored:
        async with ProjectionService(restored, [Pages()]) as service:
            added = await restored.append_to_stream("page-a", ANY, visits("a", 1))
            while (await service.status())[0].error is None:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)
            with pytest.raises(ProjectionTimeoutError, match=r"pages__v1\" does not exist"):
                await service.wait_for("pages", added, timeout=0)
        fresh = PagesAgain()
        async with ProjectionService(restored, [fresh]) as service:
            await service.wait_for("pages", added, timeout=30)
        assert await check_against_fold(restored, restored_url, fresh) == added.global_position

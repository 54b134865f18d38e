"""The store through pgbouncer in transaction mode. `make pooler` runs all other tests through it as well."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from perdure import check_projection, schema
from perdure.commit import ANY, NO_STREAM
from perdure.errors import ConfigurationError, OptimisticConcurrencyError
from perdure.projections.service import ProjectionService
from perdure.stores.postgres import notifier
from perdure.stores.postgres.inspection import Inspection
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import MISSING, PROGRAM, direct, pooler
from tests.projections.counting import Pages, Visited
from tests.schema.releases import NEXT, Release, release
from tests.stores.postgres.races import notes, texts, until
from tests.stores.postgres.test_notifier import never_look, until_listening

__all__ = ["release"]  # a fixture, which is imported to be found

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

SESSIONS = 4
"""How many sessions the pooler lends: fewer than there are connections, so that they change hands all the time."""


@pytest.fixture(scope="module")
def pooled_server(server_url: str) -> Iterator[str]:
    with pooler(direct(server_url), pool_size=SESSIONS) as url:
        yield url


@pytest.fixture
def server_of_test(database_url: str) -> str:
    """The database of this test around any pooler."""
    return direct(database_url)


@pytest.fixture
def pooled_url(pooled_server: str, database_url: str) -> str:
    return urlsplit(pooled_server)._replace(path=urlsplit(database_url).path).geturl()


@pytest.fixture
async def pooled(pooled_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(pooled_url) as store:
        yield store


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait long for what isn't heard."""
    monkeypatch.setattr(notifier, "_HEARD_WITHIN", 0.2)


@pytest.fixture
def until_warned(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    caplog.set_level(logging.WARNING, "perdure.notifier")
    return lambda: "LISTEN receives nothing" in caplog.text


# --- Statements without names -----------------------------------------------------------------------------------------


async def test_regression_32_processes_share_the_sessions_of_a_pooler(
    pooled: PostgreSQLEventStore, pooled_url: str
) -> None:
    async def work(store: PostgreSQLEventStore, writer: int) -> list[str]:
        stream = f"note-{writer}"
        for n in range(10):
            await store.append_to_stream(stream, n, notes(n))
            assert await store.stream_version(stream) == n + 1
            with pytest.raises(OptimisticConcurrencyError):
                await store.append_to_stream(stream, NO_STREAM, notes("late"))
        async with store.transaction() as tx:
            await tx.connection.fetchval("select $1::integer", writer)
            await store.append_to_stream(stream, 10, notes("last"), tx=tx)
        await store.read_all_events(category="note", max_count=writer)
        return texts(await store.read_stream(stream))

    async with PostgreSQLEventStore(pooled_url) as second, PostgreSQLEventStore(pooled_url) as third:
        found = await asyncio.gather(
            *(work(store, writer) for writer, store in enumerate([pooled, second, third] * 8, 1))
        )

    assert found == [[*map(str, range(10)), "last"]] * 24
    assert len(await pooled.read_all_events()) == 24 * 11


async def test_a_server_without_a_pooler_is_known_as_such(server_of_test: str, pooled: PostgreSQLEventStore) -> None:
    assert pooled.database.may_be_deaf
    async with PostgreSQLEventStore(server_of_test) as store:
        assert not store.database.may_be_deaf


async def test_the_rows_of_a_projection_are_checked_by_several_at_once(
    pooled: PostgreSQLEventStore, pooled_url: str
) -> None:
    visits = [Visited(page=str(page), visitor="anna") for page in range(700)]  # more rows than are fetched at once
    saved = await pooled.append_to_stream("visits-1", ANY, visits)
    projection = Pages()
    async with PostgreSQLEventStore(pooled_url) as other:
        async with ProjectionService(pooled, [projection]), ProjectionService(other, [Pages()]) as service:
            await service.wait_for(projection.name, saved, timeout=60)
        checks = await asyncio.gather(*(check_projection(store, projection) for store in (pooled, other, pooled)))
    assert [(check.rows, check.differences) for check in checks] == [(1400, ())] * 3


# --- LISTEN -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_vain")
async def test_regression_32_a_listener_that_hears_nothing_says_so_and_the_follower_looks(
    pooled: PostgreSQLEventStore, server_of_test: str, until_warned: Callable[[], bool]
) -> None:
    follower = pooled.subscribe()
    await until(until_warned)
    assert pooled.is_listening is False
    async with PostgreSQLEventStore(server_of_test) as other:
        await other.append_to_stream("note-1", ANY, notes("found"))
        assert (await anext(follower)).event.text == "found"


async def test_a_direct_url_is_listened_to(
    pooled_url: str,
    server_of_test: str,
    pooled: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    until_warned: Callable[[], bool],
) -> None:
    async with PostgreSQLEventStore(pooled_url, direct_url=server_of_test) as store:
        follower = store.subscribe()
        never_look(follower)
        coming = asyncio.create_task(anext(follower))
        await until(lambda: bool(store.is_listening))
        await until_listening(connection)
        await until(lambda: bool(store.head.waiting))
        await pooled.append_to_stream("note-1", ANY, notes("pushed"))
        assert (await coming).event.text == "pushed"
        assert await Inspection(store.database).seconds_until_heard(30) is not None
    assert not until_warned()


@pytest.mark.usefixtures("in_vain")
async def test_a_direct_url_that_leads_elsewhere_hears_nothing_and_is_told(
    pooled_url: str, server_url: str, until_warned: Callable[[], bool]
) -> None:
    async with PostgreSQLEventStore(pooled_url, direct_url=direct(server_url)) as store:
        store.subscribe()
        await until(until_warned)
        assert store.is_listening is False


async def test_a_pooler_of_sessions_is_listened_to_without_a_warning(
    database_url: str, server_url: str, until_warned: Callable[[], bool]
) -> None:
    with pooler(direct(server_url), mode="session") as url:
        async with PostgreSQLEventStore(urlsplit(url)._replace(path=urlsplit(database_url).path).geturl()) as store:
            store.subscribe()
            await until(lambda: bool(store.is_listening))
    assert not until_warned()


# --- Settings, locks and migrations -----------------------------------------------------------------------------------


async def test_a_setting_left_behind_in_a_session_makes_no_append_less_durable(
    pooled: PostgreSQLEventStore, pooled_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute("""
        create table seen (setting text);
        grant insert on seen to public;
        create function public.see() returns trigger language plpgsql as $$
        begin insert into public.seen values (current_setting('synchronous_commit')); return null; end $$;
        create trigger see after insert on perdure.events execute function public.see();
    """)
    careless = await asyncpg.connect(pooled_url, statement_cache_size=0)
    others = [careless] + [await asyncpg.connect(pooled_url, statement_cache_size=0) for _ in range(SESSIONS - 1)]
    begun = [other.transaction() for other in others]
    for other, transaction in zip(others, begun, strict=True):
        await transaction.start()  # each keeps a session of its own
        await other.execute("set session synchronous_commit = off")
    for other, transaction in zip(others, begun, strict=True):
        await transaction.commit()
        await other.close()

    await asyncio.gather(*(pooled.append_to_stream(f"note-{n}", ANY, notes(n)) for n in range(20)))

    assert {row["setting"] for row in await connection.fetch("select setting from seen")} == {"on"}


async def test_regression_21_of_those_that_migrate_through_a_pooler_one_does(
    pooled_server: str, empty_database_url: str
) -> None:
    url = urlsplit(pooled_server)._replace(path=urlsplit(empty_database_url).path).geturl()

    applied = await asyncio.gather(*(schema.apply(url) for _ in range(3)))

    assert sorted(map(len, applied))[:2] == [0, 0]
    assert len(set(map(len, applied))) == 2
    assert await schema.verify(url) == []


async def test_an_index_is_not_built_online_through_a_pooler_but_around_it(
    pooled_url: str, server_of_test: str, connection: asyncpg.Connection, release: Release
) -> None:
    release()
    with pytest.raises(ConfigurationError, match="give direct_url, or run"):
        await PostgreSQLEventStore(pooled_url).open()
    assert await connection.fetchval("select max(number) from perdure.migrations") < 9000

    async with PostgreSQLEventStore(pooled_url, direct_url=server_of_test):
        pass
    assert await connection.fetchval("select name from perdure.migrations order by number desc limit 1") == NEXT
    settings = "select current_setting('lock_timeout') || current_setting('statement_timeout')"
    careful = await asyncpg.connect(pooled_url, statement_cache_size=0)
    assert await careful.fetchval(settings) == await connection.fetchval(settings)
    await careful.close()

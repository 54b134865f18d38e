"""A switch is atomic and short, and keeps the rights, options and comments of the views."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import BuildStateError, SwitchBlockedError, ViewInUseError
from perdure.events import event, handles
from perdure.projection import TableProjection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.builds import TableDifference
from perdure.projections.state.identity import BuildId
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct
from tests.projections.counting import Pages, Visited
from tests.projections.rebuilding import until, until_ready, until_shown, visits

pytestmark = pytest.mark.usefixtures("quick_rebuilds")

SECOND = BuildId("pages", 1, 2)
OTHERS = """
    select pid from pg_locks where not granted and relation = 'pages'::regclass
        and database = (select oid from pg_database where datname = current_database())
"""


@dataclass
class Fewer:
    page: str
    seconds: int = 0


class FewerColumns(TableProjection[Fewer], table="pages", key="page", version=2):
    """The same name with other columns, so that its view must be created again."""

    @handles
    def visited(self, event: Visited, row: Fewer | None) -> Fewer:
        row = row or Fewer(event.page)
        row.seconds += event.seconds
        return row


@asynccontextmanager
async def rebuilt(store: PostgreSQLEventStore) -> AsyncIterator[ProjectionOperations]:
    """A second build that is ready to be shown."""
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(20))
        await service.wait_for("pages", saved, timeout=30)
        await operations.rebuild("pages", switch="manual")
        await until_ready(store, SECOND)
        yield operations


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(direct(url))
    try:
        yield connection
    finally:
        await connection.close()


# --- Those who read ---------------------------------------------------------------------------------------------------


async def test_readers_in_a_loop_see_no_error_and_no_half_built_table(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    """Appends go on, so that both builds move all the time; what a reader sees never goes back."""
    operations = ProjectionOperations(store)
    seen: list[list[int]] = [[], []]
    is_over = asyncio.Event()

    async def read(into: list[int]) -> None:
        async with connected(database_url) as connection:
            while not is_over.is_set():
                into.append(await connection.fetchval("select coalesce(sum(visits), 0)::int from pages"))

    async def append() -> None:
        while not is_over.is_set():
            saved = await store.append_to_stream("x-1", ANY, visits(5))
            await service.wait_for("pages", saved, timeout=30)

    await store.append_to_stream("x-1", ANY, visits(500))
    async with ProjectionService(store, [Pages()], batch_size=20) as service:
        await service.wait_for("pages", 500, timeout=30)
        async with asyncio.TaskGroup() as group:
            for into in seen:
                group.create_task(read(into))
            group.create_task(append())
            try:
                for number in (2, 3):
                    await operations.rebuild("pages")
                    await until_shown(store, BuildId("pages", 1, number))
                    await operations.rollback("pages")
                    await operations.rollback("pages")
            finally:
                is_over.set()

    actions = await operations.actions("pages")
    assert [one.detail["outcome"] for one in actions if one.action == "compared"] == ["equal", "equal"]
    for totals in seen:
        assert totals[0] >= 500
        assert len(totals) > 10
        # A rollback is asked for whatever it lags; both builds are kept up to date, so that nothing is missing.
        assert totals == sorted(totals)


async def test_a_reader_that_holds_the_view_holds_up_others_only_for_a_moment(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.builds.switch._RETRY", RetryConfig(max_attempts=3, base_delay=0))
    async with rebuilt(store) as operations, connected(database_url) as long, connected(database_url) as other:
        async with long.transaction():
            await long.execute("set local application_name = 'a report'")
            await long.fetch("select * from pages")
            switching = asyncio.create_task(operations.switch("pages"))
            await until(lambda: _waits(other))
            await other.fetch("select count(*) from pages")  # it waits for the end of a try, not for the report
            assert not switching.done() or switching.exception() is not None
            with pytest.raises(SwitchBlockedError, match="a report") as caught:
                await switching
        assert caught.value.holders[0].pid == long.get_server_pid()
        assert (await operations.switch("pages")).build == 2


async def _waits(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetch(OTHERS))


async def test_without_a_limit_others_would_wait_as_long_as_the_reader(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken variant of the test above."""
    monkeypatch.setattr("perdure.projections.builds.switch.LOCK_TIMEOUT", 3600)
    async with rebuilt(store) as operations, connected(database_url) as long, connected(database_url) as other:
        await long.execute("begin")
        await long.fetch("select * from pages")
        switching = asyncio.create_task(operations.switch("pages"))
        await until(lambda: _waits(other))
        async with connected(database_url) as third:
            reading = asyncio.create_task(third.fetch("select count(*) from pages"))
            await until(lambda: _wait_both(other))
            assert not reading.done()
            await long.execute("commit")
            await asyncio.gather(switching, reading)


async def _wait_both(connection: asyncpg.Connection) -> bool:
    return len(await connection.fetch(OTHERS)) == 2


# --- What hangs on the views ------------------------------------------------------------------------------------------


@pytest.fixture
async def reader(connection: asyncpg.Connection) -> AsyncIterator[str]:
    name = f"reader_{connection.get_server_pid()}"
    await connection.execute(f"create role {name}")
    yield name
    await connection.execute(f"drop owned by {name}")
    await connection.execute(f"drop role {name}")


async def test_a_rebuild_keeps_rights_and_whatever_builds_on_the_view(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, reader: str
) -> None:
    async with rebuilt(store) as operations:
        await connection.execute(f"grant select on pages to {reader}")
        await connection.execute("create view report as select sum(visits)::int as total from pages")
        await operations.switch("pages")
        await store.append_to_stream("x-1", ANY, visits(1))
        await operations.wait_for("pages", 21, timeout=30)

    await connection.execute(f"set role {reader}")
    assert await connection.fetchval("select count(*) from pages") == 5
    await connection.execute("reset role")
    assert await connection.fetchval("select total from report") == 21


async def test_a_view_that_is_created_again_has_the_rights_options_and_comments_of_the_old_one(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, reader: str
) -> None:
    async with ProjectionService(store, [Pages()]):
        await connection.execute("alter view pages set (security_barrier = true)")
        await connection.execute("comment on view pages is 'it''s visits'")
        await connection.execute("comment on column pages.seconds is 'in all'")
        await connection.execute(f"grant select on pages to {reader} with grant option")
        await connection.execute("revoke all on pages from current_user")
        await connection.execute("grant select (page) on pages to public")
        # What a new view would be born with isn't what the old one has.
        await connection.execute("alter default privileges grant insert, select on tables to public")
    async with ProjectionService(store, [FewerColumns()]):
        await until_shown(store, BuildId("pages", 2))

    rights = await connection.fetch(
        "select grantee::regrole::text, privilege_type, is_grantable "
        "from pg_class, aclexplode(relacl) where oid = 'pages'::regclass and grantee <> relowner"
    )
    assert [tuple(one) for one in rights] == [(reader, "SELECT", True)]
    of_columns = "select attacl::text from pg_attribute where attrelid = 'pages'::regclass and attacl is not null"
    assert [row["attacl"].partition("/")[0] for row in await connection.fetch(of_columns)] == ["{=r"]
    assert await connection.fetchval("select reloptions from pg_class where oid = 'pages'::regclass") == [
        "security_barrier=true"
    ]
    assert await connection.fetchval("select obj_description('pages'::regclass, 'pg_class')") == "it's visits"
    assert await connection.fetchval("select col_description('pages'::regclass, 2)") == "in all"
    assert (
        await connection.fetch("select relname from pg_class where relname like 'perdure\\_%' and relkind = 'v'") == []
    )


async def test_a_view_that_would_have_to_be_dropped_is_kept_while_something_builds_on_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]):
        await connection.execute("create view report as select visits from pages")
        await connection.execute("create function first_page() returns pages language sql as 'select * from pages'")
    async with ProjectionService(store, [FewerColumns()]):
        await until_ready(store, BuildId("pages", 2))
        with pytest.raises(ViewInUseError, match="drop those objects first") as caught:
            await operations.switch("pages")
        assert caught.value.dependents == {"pages": ("function first_page()", "view report")}
        assert await connection.fetch("select visits from report") == []
        await connection.execute("drop function first_page()")
        await connection.execute("drop view report")
        await until_shown(store, BuildId("pages", 2))  # by itself

    assert await connection.fetchval("select to_regclass('pages_visitors') is null")


async def test_a_table_with_dependent_objects_is_not_dropped(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with rebuilt(store) as operations:
        await operations.switch("pages")
        await connection.execute("create view archive as select * from pages__v1")
        with pytest.raises(ViewInUseError) as caught:
            await operations.drop("pages", 1, 1)
        assert caught.value.dependents == {"pages__v1": ("view archive",)}
        await connection.execute("drop view archive")
        await operations.drop("pages", 1, 1)

    assert await connection.fetchval("select to_regclass('pages__v1') is null")


# --- What is shown ----------------------------------------------------------------------------------------------------


async def test_a_build_that_differs_is_reported_and_shown_only_by_switch(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(20))
        await service.wait_for("pages", saved, timeout=30)
        await connection.execute("update pages__v1 set visits = 99 where page = 'p1'")
        await connection.execute("delete from pages__v1 where page = 'p2'")
        await connection.execute("insert into pages__v1 select 'p9', 1, 1, 1, null, '{}'")
        await operations.rebuild("pages")
        status = await until_ready(store, SECOND)
        assert (status.stage, status.is_shown) == ("ready", False)
        (found,) = status.differences
        assert (found.table, found.rows, found.expected_rows, found.differing) == ("pages", 5, 5, 3)
        assert sorted(found.keys) == ['{"page":"p1"}', '{"page":"p2"}', '{"page":"p9"}']
        assert isinstance(found, TableDifference)

        assert (await operations.switch("pages", reason="the old one was wrong")).build == 2
        assert await connection.fetchval("select visits from pages where page = 'p1'") == 4

    (compared,) = [action for action in await operations.actions("pages") if action.action == "compared"]
    assert compared.detail["outcome"] == "different"


@event("test.switching.tagged")
class Tagged:
    name: str
    tags: list[str]


@dataclass
class Tags:
    name: str
    tags: frozenset[str] = frozenset()


class TagSets(TableProjection[Tags], table="tag_sets", key="name"):
    @handles
    def tagged(self, event: Tagged, row: Tags | None) -> Tags:
        return Tags(event.name, frozenset(event.tags))


async def test_the_order_of_a_set_is_no_difference(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [TagSets()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Tagged(name="a", tags=["x", "y", "z"])])
        await service.wait_for("tag_sets", saved, timeout=30)
        await connection.execute("update tag_sets__v1 set tags = array[tags[3], tags[1], tags[2]]")
        await operations.rebuild("tag_sets")
        await until_shown(store, BuildId("tag_sets", 1, 2))


async def test_a_build_is_not_shown_before_it_is_complete(store: PostgreSQLEventStore) -> None:
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]):
        pass
    await operations.rebuild("pages")

    with pytest.raises(BuildStateError, match="isn't complete"):
        await operations.switch("pages")


async def test_a_build_that_shows_less_is_not_switched_to_but_can_be_gone_back_to(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody keeps the old version any more."""
    monkeypatch.setattr("perdure.projections.builds.switch._RETRY", RetryConfig(max_attempts=2, base_delay=0))
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(5))
        await service.wait_for("pages", saved, timeout=30)
    async with ProjectionService(store, [FewerColumns()]) as newer:
        await until_shown(store, BuildId("pages", 2))
        saved = await store.append_to_stream("x-1", ANY, visits(3))
        await newer.wait_for("pages", saved, timeout=30)
        with pytest.raises(BuildStateError, match="3 positions behind") as caught:
            await operations.switch("pages", 1)
        assert caught.value.lag == 3
        status = await operations.rollback("pages")

    assert (status.version, status.is_shown, status.lag, status.state) == (1, True, 3, "stopped")
    assert await connection.fetchval("select sum(visits) from pages") == 5
    assert await connection.fetchval("select count(*) from pages_visitors") == 5


async def test_rollbacks_at_the_same_moment_follow_each_other(store: PostgreSQLEventStore) -> None:
    """Each goes back from what the other has shown, so that two of them change nothing."""
    async with rebuilt(store) as operations:
        await operations.switch("pages")
        before = next(status for status in await operations.status("pages") if status.is_shown)
        await asyncio.gather(operations.rollback("pages"), operations.rollback("pages"))
        after = next(status for status in await operations.status("pages") if status.is_shown)

        assert after.build == before.build
        rolled_back = [action.build for action in await operations.actions("pages") if action.action == "rolled back"]
        assert len(set(rolled_back)) == 2

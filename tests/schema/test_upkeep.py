"""Plan, apply and print: what a schema lacks, told, done, and given to somebody else to be done."""

import asyncpg
import pytest

import perdure
from perdure import schema
from perdure.commit import ANY
from perdure.errors import (
    InvalidArgumentError,
    SchemaOutdatedError,
    SchemaTooNewError,
    SchemaUnknownError,
    StoreUnavailableError,
)
from perdure.stores.postgres.schema.migrations import known_migrations
from tests.stores.postgres.races import notes, other_connection, texts
from tests.stores.postgres.schema.test_migrator import HOSTILE
from tests.structure.sql import statements

ALL = [migration.name for migration in known_migrations()]


async def run(url: str, script: str) -> None:
    """Run a script as psql does: statement by statement, up to the first error."""
    async with other_connection(url) as connection:
        for statement in statements(script):
            await connection.execute(statement)


async def test_a_plan_tells_what_is_missing_and_changes_nothing(empty_database_url: str) -> None:
    plan = await schema.plan(empty_database_url)
    assert [migration.name for migration in plan.migrations] == ALL
    assert [migration.name for migration in (await schema.plan(empty_database_url)).migrations] == ALL

    created = plan.migrations[0].statements[4].sql
    assert 'create table "perdure".events' in created
    # Nobody uses a schema that isn't there yet.
    planned = [statement for migration in plan.migrations for statement in migration.statements]
    assert not any(statement.is_online or statement.is_locking for statement in planned)


async def test_what_was_planned_is_applied_and_then_nothing_is_left(empty_database_url: str) -> None:
    assert await schema.apply(empty_database_url) == ALL
    assert await schema.apply(empty_database_url) == []

    plan = await schema.plan(empty_database_url)
    assert (plan.migrations, plan.script) == ((), "")
    assert await schema.verify(empty_database_url) == []
    async with perdure.connect(empty_database_url, migrate=False) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))


async def test_the_printed_schema_is_the_one_that_is_applied(empty_database_url: str) -> None:
    await run(empty_database_url, schema.script())

    assert await schema.verify(empty_database_url) == []
    assert await schema.apply(empty_database_url) == []
    async with perdure.connect(empty_database_url, migrate=False) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))
        assert texts(await store.read_all_events()) == ["a"]


async def test_the_script_of_a_plan_applies_it(empty_database_url: str) -> None:
    await run(empty_database_url, (await schema.plan(empty_database_url)).script)

    assert await schema.verify(empty_database_url) == []


async def test_a_script_that_is_run_twice_changes_nothing(empty_database_url: str) -> None:
    await run(empty_database_url, schema.script())
    with pytest.raises(asyncpg.DuplicateTableError):
        await run(empty_database_url, schema.script())

    assert await schema.verify(empty_database_url) == []


async def test_a_printed_schema_may_be_given_its_number(empty_database_url: str) -> None:
    await run(empty_database_url, schema.script(namespace=4711))

    async with other_connection(empty_database_url) as connection:
        assert await connection.fetchval("select perdure.store_namespace()") == 4711
    assert await schema.verify(empty_database_url) == []


@pytest.mark.parametrize("namespace", [0, -1, 32768, "1", True])
def test_a_number_that_can_not_be_is_refused(namespace: int) -> None:
    with pytest.raises(InvalidArgumentError, match="1 to 32767"):
        schema.script(namespace=namespace)


async def test_stores_of_any_name_in_one_database_are_kept_up_each_for_itself(empty_database_url: str) -> None:
    for number, name in enumerate(HOSTILE):
        if number % 2:
            await run(empty_database_url, schema.script(schema=name))
        else:
            await schema.apply(empty_database_url, schema=name)
        with pytest.raises(SchemaOutdatedError):
            await schema.verify(empty_database_url)

    for name in HOSTILE:
        assert await schema.verify(empty_database_url, schema=name) == []


async def test_a_schema_of_a_newer_version_is_refused(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("insert into perdure.migrations (number, name) values (9999, '9999_future')")
    for function in (schema.plan, schema.apply, schema.verify):
        with pytest.raises(SchemaTooNewError, match="upgrade Perdure"):
            await function(database_url)


async def test_a_schema_that_no_release_made_is_refused(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("alter table perdure.migrations drop column steps")
    for function in (schema.plan, schema.apply, schema.verify):
        with pytest.raises(SchemaUnknownError, match="name another schema"):
            await function(database_url)
    with pytest.raises(SchemaUnknownError):
        async with perdure.connect(database_url):
            pass


async def test_a_database_that_is_not_there_is_told() -> None:
    for function in (schema.plan, schema.apply, schema.verify, schema.grants):
        with pytest.raises(StoreUnavailableError):
            await function("postgresql://user@127.0.0.1:1/db")


async def test_the_database_is_found_as_connect_finds_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_DATABASE_URL", database_url)

    assert await schema.verify() == []

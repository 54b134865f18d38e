"""The migrations keep what their files' names say: which hold others up, and which build an index of their name."""

import re
from pathlib import Path

import pytest

from perdure.stores.postgres.schema.migrations import MIGRATIONS, Migration, MigrationNames, known_migrations
from perdure.stores.postgres.sql_files import Statements
from tests.schema.releases import STATEMENTS, write_release
from tests.stores.postgres.races import other_connection

SQL = MIGRATIONS.parent / "sql" / "schema"
HOLDING_UP = """
    select distinct l.relation::regclass::text from pg_locks l
    where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.relation = any($1::oid[])
        and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


async def holding_others_up(url: str, migrations: list[Migration]) -> dict[str, bool]:
    """Each statement that runs in a transaction, and whether it locks what others may be using."""
    names = MigrationNames("perdure")
    found = {}
    async with other_connection(url) as connection:
        for name in ("create_schema", "create_migrations"):
            await connection.execute(Statements(SQL, schema=names.quoted)[name])
        for migration in migrations:
            before = await connection.fetchval(
                "select array_agg(oid) from pg_class where relnamespace = 'perdure'::regnamespace and relkind = 'r'"
            )
            for statement in migration.statements:
                if statement.is_online:
                    await connection.execute(names.fill(statement, concurrently=True))
                    continue
                async with connection.transaction():
                    await connection.execute(names.fill(statement))
                    locked = await connection.fetch(HOLDING_UP, before)
                found[f"{migration.name}/{statement.name}"] = bool(locked)
    return found


async def test_a_statement_that_holds_others_up_is_named_so(empty_database_url: str) -> None:
    migrations = known_migrations()
    declared = {
        f"{migration.name}/{statement.name}": statement.is_locking
        for migration in migrations
        for statement in migration.statements
        if not statement.is_online
    }

    assert await holding_others_up(empty_database_url, migrations) == declared


async def test_a_statement_that_holds_others_up_is_found(empty_database_url: str, tmp_path: Path) -> None:
    migrations = known_migrations(write_release(tmp_path / "migrations"))
    found = await holding_others_up(empty_database_url, migrations)

    assert {name: one for name, one in found.items() if name.startswith("9000")} == {
        "9000_next/note": False,
        "9000_next/snapshots_text": True,
    }


@pytest.mark.parametrize("migration", known_migrations(), ids=lambda migration: migration.name)
def test_what_runs_online_builds_an_index_of_its_name(migration: Migration) -> None:
    for statement in migration.statements:
        if statement.is_online:
            assert re.search(rf"\bcreate index {{concurrently}} {statement.name} on \{{schema\}}", statement.sql)


def test_numbers_are_given_once_and_names_need_no_quotes() -> None:
    migrations = known_migrations()

    numbers = [migration.number for migration in migrations]
    assert numbers == sorted(set(numbers))
    assert set(range(100, 105)) - set(numbers) <= {103}  # given to another branch, which adds it
    assert all(re.fullmatch(r"[0-9a-z_]+", migration.name) for migration in migrations)


def test_a_file_tells_by_its_name_how_it_is_run(tmp_path: Path) -> None:
    [*_, migration] = known_migrations(write_release(tmp_path / "migrations"))

    assert [(one.name, one.is_online, one.is_locking) for one in migration.statements] == [
        ("note", False, False),
        ("events_type", True, False),
        ("snapshots_text", False, True),
        ("events_recorded", True, False),
    ]
    assert [one.sql for one in migration.statements] == list(STATEMENTS.values())
    assert migration.is_online

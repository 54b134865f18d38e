"""Released migrations never change, and a schema from before the first release is refused."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

import perdure
from perdure import schema
from perdure.errors import SchemaUnknownError
from perdure.stores.postgres.schema.migrations import MIGRATIONS, Migration, known_migrations

PINNED = {
    "0100_baseline": "d2e6f25970e2ec9906867830b2fbdf1628f4ac270cb50f8f92c4bb6fd02a7fff",
    "0101_repeats": "a340a04c0f5cfc3ea2323e3ba66693957e1bbb66f674edbf333715788749bc95",
    "0102_starts": "53e5e18aa45d3bc182165bd8303bf35b2a6da6fd9b7dc01a04300b2e2cb65ebb",
    "0104_timers": "8f3be3acd4e2ee147b99227e44dea326cee998eb3b2f3be95c8d6309b7e79f7f",
}
"""The checksum of each migration, as released. Add a line for a new one; never change one."""

BEFORE = (
    "0001_event_store",
    "0002_projections",
    "0003_snapshots",
    "0004_reading",
    "0005_segments",
    "0006_rebuilds",
    "0007_inline",
    "0008_replicas",
    "0009_append_batch",
    "0010_append_event",
    "0012_no_next_event",
    "0013_repeats",
    "0014_store_schema",
    "0015_check_events",
)
"""The migrations of the last development version before 0.1. Number 11 was withdrawn."""


def checksum(migration: Migration) -> str:
    """Of the names and texts of its files, in their order."""
    files = sorted((MIGRATIONS / migration.name).iterdir())
    return sha256(b"".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)).hexdigest()


def test_no_migration_is_ever_edited() -> None:
    sums = {migration.name: checksum(migration) for migration in known_migrations()}

    changed = [name for name in PINNED if sums.get(name) != PINNED[name]]
    assert changed == [], "databases have this migration already: put it back as it was, and add another one"
    assert sums == PINNED, "pin the new migration, and write its dump: python -m tests.schema.write_dump"


@pytest.fixture
async def before(connection: asyncpg.Connection) -> None:
    """Let the schema record the migrations of a version from before 0.1."""
    rows = [(int(name[:4]), name, 1) for name in BEFORE]
    await connection.execute("delete from perdure.migrations")
    await connection.executemany("insert into perdure.migrations (number, name, steps) values ($1, $2, $3)", rows)


async def opened(url: str, *, migrate: bool = True) -> None:
    async with perdure.connect(url, migrate=migrate):
        pass


WAYS_IN: dict[str, Callable[[str], Awaitable[Any]]] = {
    "open": opened,
    "open without migrating": lambda url: opened(url, migrate=False),
    "plan": schema.plan,
    "apply": schema.apply,
    "verify": schema.verify,
    "renumber": schema.renumber,
    "grants": schema.grants,
    "grant": lambda url: schema.grant(url, "somebody", "reader"),
    "revoke": lambda url: schema.revoke(url, "somebody"),
}

CONTENT = """
    select (select array_agg(p.oid::text || p.xmin::text order by p.oid) from pg_proc p where p.pronamespace = n.oid),
        (select array_agg(c.oid::text || c.xmin::text order by c.oid) from pg_class c where c.relnamespace = n.oid),
        (select array_agg(m.xmin::text || m.name order by m.number) from perdure.migrations m)
    from pg_namespace n where n.nspname = 'perdure'
"""
"""The versions of all catalog rows of the schema's functions and tables, and what it records of its migrations."""


@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.usefixtures("before")
async def test_a_schema_of_a_development_version_is_refused_before_anything_is_written(
    database_url: str, connection: asyncpg.Connection, way: str
) -> None:
    content = await connection.fetchrow(CONTENT)

    with pytest.raises(SchemaUnknownError, match=r"before 0\.1 .*0001_event_store.*drop the schema") as refused:
        await WAYS_IN[way](database_url)

    assert (refused.value.schema, refused.value.migrations) == ("perdure", BEFORE)
    assert await connection.fetchrow(CONTENT) == content


async def test_a_migration_of_another_name_is_not_taken_for_the_one_of_its_number(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute("update perdure.migrations set name = '0100_other' where number = 100")

    with pytest.raises(SchemaUnknownError) as refused:
        await schema.apply(database_url)
    assert refused.value.migrations == ("0100_other",)

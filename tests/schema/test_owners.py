"""What an owner of the schema does, and which roles may be granted what, by whom."""

from urllib.parse import urlsplit

import asyncpg
import pytest

import perdure
from perdure import schema
from perdure.commit import ANY
from perdure.errors import (
    ConfigurationError,
    InvalidArgumentError,
    PerdureError,
    SchemaOutdatedError,
)
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.schema.releases import NEXT, Release, release
from tests.schema.roles import new_role
from tests.schema.test_upkeep import run
from tests.stores.postgres.races import notes, other_connection
from tests.stores.postgres.schema.test_migrator import HOSTILE

__all__ = ["release"]  # a fixture, which is imported to be found


@pytest.mark.one_session
async def test_a_new_owner_keeps_up_the_schema_and_writers_go_on(
    database_url: str, writer: str, connection: asyncpg.Connection, release: Release
) -> None:
    async with new_role(database_url) as (role, url):
        await connection.execute(f"grant create on database {urlsplit(url).path.lstrip('/')} to {role}")
        await schema.grant(database_url, role, "owner")
        release()

        assert await schema.apply(url) == [NEXT]
        assert await schema.verify(url) == []
        async with perdure.connect(writer) as store:
            await store.append_to_stream("note-1", ANY, notes("a"))
        owners = await connection.fetch("""
            select pg_get_userbyid(c.relowner) as owner from pg_class c where c.relnamespace = 'perdure'::regnamespace
            union select pg_get_userbyid(p.proowner) from pg_proc p where p.pronamespace = 'perdure'::regnamespace
            union select pg_get_userbyid(n.nspowner) from pg_namespace n where n.nspname = 'perdure'
        """)
        assert [row["owner"] for row in owners] == [role]
        # Not even the owner changes what is written, as long as it leaves the triggers alone.
        async with other_connection(url) as session:
            with pytest.raises(asyncpg.PostgresError, match="never changed or deleted"):
                await session.execute("delete from perdure.events")


async def test_a_schema_may_be_made_for_an_owner_who_can_make_none(empty_database_url: str) -> None:
    async with new_role(empty_database_url) as (role, url), other_connection(empty_database_url) as admin:
        await admin.execute(f"create schema perdure authorization {role}")
        async with perdure.connect(url) as store:
            await store.append_to_stream("note-1", ANY, notes("a"))
        with pytest.raises(ConfigurationError, match="right to create schemas"):
            await schema.verify(url)


@pytest.mark.one_session
async def test_an_outdated_schema_is_told_to_who_may_not_migrate(
    database_url: str, writer: str, reader: str, release: Release
) -> None:
    release()
    for url in (writer, reader):
        with pytest.raises(SchemaOutdatedError, match="apply them as the owner of the schema") as outdated:
            await PostgreSQLEventStore(url).open()
        assert outdated.value.missing == (NEXT,)
        assert outdated.value.forbidden is not None
        for call in (PostgreSQLEventStore(url, migrate=False).open(), schema.grant(url, "x", "reader")):
            with pytest.raises(SchemaOutdatedError):
                await call
    async with new_role(database_url) as (_, url):
        with pytest.raises(SchemaOutdatedError, match="apply them as the owner of the schema"):
            await PostgreSQLEventStore(url, schema="other").open()

    assert [migration.name for migration in (await schema.plan(reader)).migrations] == [NEXT]


@pytest.mark.one_session
async def test_rights_are_granted_again_after_a_migration(
    database_url: str, reader: str, connection: asyncpg.Connection, release: Release
) -> None:
    # What a migration adds is like what was never granted.
    await connection.execute(f"revoke select on perdure.snapshots from {urlsplit(reader).username}")
    release()

    assert await schema.apply(database_url) == [NEXT]

    assert await schema.verify(database_url) == []


async def test_the_script_of_a_migration_grants_again(
    database_url: str, reader: str, connection: asyncpg.Connection, release: Release
) -> None:
    await connection.execute(f"revoke select on perdure.snapshots from {urlsplit(reader).username}")
    release()

    await run(database_url, (await schema.plan(reader)).script)

    assert await schema.verify(database_url) == []
    assert (await schema.plan(reader)).migrations == ()


@pytest.mark.one_session
async def test_a_role_that_is_gone_is_no_hindrance(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    async with new_role(database_url) as (role, _):
        await schema.grant(database_url, role, "reader")
    release()
    await schema.apply(database_url)

    assert await schema.verify(database_url) == []
    assert await schema.grants(database_url) == []


# --- Who may be granted what, by whom ---------------------------------------------------------------------------------


async def test_roles_of_any_name_are_granted_and_revoked(database_url: str) -> None:
    for name in HOSTILE:
        async with new_role(database_url, name=name) as (role, _):
            await schema.grant(database_url, role, "writer")
            assert await schema.grants(database_url) == [schema.Grant(role, "writer")]
            await run(database_url, schema.revoke_script(role))
            await run(database_url, schema.grant_script(role, "reader"))
            assert await schema.grants(database_url) == [schema.Grant(role, "reader")]
            assert await schema.verify(database_url) == []
            await schema.revoke(database_url, role)
            assert await schema.verify(database_url) == []


async def test_any_role_may_own_a_schema_of_any_name(empty_database_url: str) -> None:
    for name in HOSTILE:
        await schema.apply(empty_database_url, schema=name)
        async with new_role(empty_database_url, name=name) as (role, _):
            await schema.grant(empty_database_url, role, "owner", schema=name)
            async with other_connection(empty_database_url) as connection:
                owner = "select pg_get_userbyid(nspowner) from pg_namespace where nspname = $1"
                assert await connection.fetchval(owner, name) == role
            assert await schema.verify(empty_database_url, schema=name) == []


async def test_a_grant_that_would_limit_nobody_is_refused(database_url: str, connection: asyncpg.Connection) -> None:
    async with new_role(database_url, "superuser") as (role, _):
        for call in (schema.grant(database_url, role, "writer"), schema.revoke(database_url, role)):
            with pytest.raises(ConfigurationError, match="is a superuser, or may act as the owner"):
                await call
    async with new_role(database_url) as (owner, _):
        await schema.grant(database_url, owner, "owner")
        async with new_role(database_url, f"login in role {owner}") as (member, _):
            for role in (owner, member):
                with pytest.raises(ConfigurationError, match="may act as the owner"):
                    await schema.grant(database_url, role, "reader")
        assert await schema.grants(database_url) == []


@pytest.mark.parametrize("role", ["public", "nobody_of_that_name", "none", "current_user"])
async def test_a_role_that_is_not_there_is_told(database_url: str, role: str) -> None:
    for call in (schema.grant(database_url, role, "reader"), schema.revoke(database_url, role)):
        with pytest.raises(ConfigurationError, match="create it first"):
            await call


async def test_a_kind_that_is_not_there_is_told(database_url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'admin' isn't one of reader, writer, projector, owner"):
        await schema.grant(database_url, "postgres", "admin")  # type: ignore[arg-type]  # the point
    for name in ("a$transfer$b", "", "a\x00b"):
        with pytest.raises(InvalidArgumentError):
            schema.grant_script(name, "owner")


async def test_who_owns_nothing_grants_nothing(database_url: str, writer: str) -> None:
    async with new_role(database_url) as (role, _):
        for kind in ("reader", "writer", "owner"):
            with pytest.raises(PerdureError, match=r"permission denied|must be"):
                await schema.grant(writer, role, kind)
        with pytest.raises(PerdureError, match="permission denied"):
            await schema.revoke(writer, role)
    assert [grant.kind for grant in await schema.grants(database_url)] == ["writer"]
    assert await schema.verify(database_url) == []

"""The upkeep of a store's schema, for operators: plan, apply, print, verify, renumber, and grants to roles.

Every function takes the URL of the database. Without a URL it finds the database as `perdure.connect` does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from perdure.errors import InvalidArgumentError
from perdure.stores.connect import choose_database, located_database
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.schema.drift import Drift, find_drift
from perdure.stores.postgres.schema.migrations import RESERVED
from perdure.stores.postgres.schema.migrator import LOCK_TIMEOUT, PATIENCE, Migrator, check_wait
from perdure.stores.postgres.schema.plan import Plan, PlannedMigration, PlannedStatement, new_schema, plan_of
from perdure.stores.postgres.schema.roles import Grant, RoleKind, Roles, grant_statements, revoke_statements

__all__ = [
    "Drift",
    "Grant",
    "Plan",
    "PlannedMigration",
    "PlannedStatement",
    "RoleKind",
    "apply",
    "grant",
    "grant_script",
    "grants",
    "plan",
    "renumber",
    "revoke",
    "revoke_script",
    "script",
    "verify",
]


async def plan(url: str | None = None, *, schema: str = "perdure") -> Plan:
    """Return what `apply` would do: missing migrations, their statements, and the same as a script. Changes nothing.

    Raises:
        SchemaTooNewError: the schema was made by a newer version of Perdure.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
    """
    async with _database(url, schema) as database, database.session() as connection:
        state = await Migrator(database).state(connection)
        grants = [] if state.is_new else await Roles(schema).granted(connection)
        return plan_of(schema, state, grants)


async def apply(
    url: str | None = None,
    *,
    schema: str = "perdure",
    lock_timeout: float = LOCK_TIMEOUT,
    timeout: float = PATIENCE,
) -> list[str]:
    """Apply the missing migrations, and return their names. Safe to repeat, and to run in several processes at once.

    Args:
        url: the database; as in `connect` when it is None.
        schema: the schema that holds the store.
        lock_timeout: how long appends may have to wait behind a migration that waits for a lock, in seconds.
        timeout: seconds after which a migration that doesn't get its locks fails.

    Raises:
        SchemaLockedError: other sessions held a lock for too long. It names them.
        SchemaOutdatedError: the database's user may not apply what is missing.
        SchemaTooNewError: the schema was made by a newer version of Perdure.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
    """
    check_wait("lock_timeout", lock_timeout)
    check_wait("timeout", timeout)
    async with _database(url, schema) as database, database.session() as connection:
        return await Migrator(database, lock_timeout=lock_timeout, timeout=timeout).apply(connection)


async def renumber(
    url: str | None = None,
    *,
    schema: str = "perdure",
    lock_timeout: float = LOCK_TIMEOUT,
    timeout: float = PATIENCE,
) -> int:
    """Give the locks of a store a number that no other schema of the database has, and return it.

    For a copy of a schema beside its original, which a store refuses to open. Events stay as they are. It is safe while
    stores are open on the schema: like a migration, it waits until no append is under way, and lets new ones wait.

    Args:
        url: the database, as a user who owns the schema; as in `connect` when it is None.
        schema: the schema of the copy.
        lock_timeout: seconds that appends may have to wait behind it while it waits for a lock.
        timeout: seconds after which it fails if it doesn't get its locks.

    Raises:
        SchemaLockedError: a transaction that had appended, or was reading the log, stayed open. It is named.
        SchemaOutdatedError, SchemaTooNewError: the schema isn't that of this version of Perdure.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used, or its user doesn't
            own the schema.
    """
    check_wait("lock_timeout", lock_timeout)
    check_wait("timeout", timeout)
    async with _database(url, schema) as database, database.session() as connection:
        return await Migrator(database, lock_timeout=lock_timeout, timeout=timeout).renumber(connection)


def script(*, schema: str = "perdure", namespace: int | None = None) -> str:
    """Return the whole schema as SQL, for a database that doesn't have it: to be read, or run by psql.

    Args:
        schema: the schema that will hold the store.
        namespace: the number, 1 to 32767, that sets its locks apart from those of other stores in the same database;
            drawn at random when it is None. The script ends with an error where another schema has it.

    Raises:
        InvalidArgumentError: Perdure uses that number for other locks.
    """
    if namespace in RESERVED:
        raise InvalidArgumentError("namespace", f"{namespace} is the number of other locks of Perdure: choose another")
    return plan_of(schema, new_schema(), [], namespace).script


async def verify(url: str | None = None, *, schema: str = "perdure") -> list[Drift]:
    """Return how the schema in the database differs from the one that the migrations make; an empty list if it doesn't.

    The migrations are applied to a second schema, in a transaction that is rolled back, and both are compared. So the
    database's user must have the right to create a schema. It also returns the keys, indexes and unique columns that
    tables of projections have lost.

    Raises:
        SchemaOutdatedError: migrations are missing. Apply them first.
        SchemaTooNewError: the schema was made by a newer version of Perdure.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
    """
    async with _database(url, schema) as database, database.session() as connection:
        await Migrator(database).check(connection)
        return await find_drift(connection, schema)


async def grant(url: str | None, role: str, kind: RoleKind, *, schema: str = "perdure") -> None:
    """Give a role the rights of a reader, a writer or a projector, or make it the owner of the schema.

    A writer reads, follows, and appends by the store's functions only. Rights add up. `apply` grants them on what it
    adds, too.

    Args:
        url: the database, as a user who owns the schema, or a superuser; as in `connect` when it is None.
        role: a role that exists.
        kind: the rights that it gets.
        schema: the schema that holds the store.

    Raises:
        InvalidArgumentError: there is no such kind.
        ConfigurationError: there is no such role, or no grant can limit it, or the database's user may not grant.
        SchemaOutdatedError, SchemaTooNewError: the schema isn't that of this version of Perdure.
    """
    grant_statements(schema, [Grant(role, kind)])  # refuses bad arguments before connecting
    async with _database(url, schema) as database, database.session() as connection:
        await Migrator(database).check(connection)
        await Roles(schema).grant(connection, Grant(role, kind))


async def revoke(url: str | None, role: str, *, schema: str = "perdure") -> None:
    """Revoke all rights of a role in the schema.

    Raises:
        ConfigurationError: there is no such role, or it may act as the schema's owner.
        SchemaOutdatedError, SchemaTooNewError: the schema isn't that of this version of Perdure.
    """
    revoke_statements(schema, role)  # refuses bad arguments before connecting
    async with _database(url, schema) as database, database.session() as connection:
        await Migrator(database).check(connection)
        await Roles(schema).revoke(connection, role)


async def grants(url: str | None = None, *, schema: str = "perdure") -> list[Grant]:
    """Return what `grant` granted, and to which roles.

    Raises:
        SchemaOutdatedError, SchemaTooNewError: the schema isn't that of this version of Perdure.
    """
    async with _database(url, schema) as database, database.session() as connection:
        await Migrator(database).check(connection)
        return await Roles(schema).granted(connection)


def grant_script(role: str, kind: RoleKind, *, schema: str = "perdure") -> str:
    """Return what `grant` does, as SQL."""
    return _joined(grant_statements(schema, [Grant(role, kind)]))


def revoke_script(role: str, *, schema: str = "perdure") -> str:
    """Return what `revoke` does, as SQL."""
    return _joined(revoke_statements(schema, role))


def _joined(statements: list[str]) -> str:
    return "".join(f"{sql.strip()};\n" for sql in ["begin", *statements, "commit"])


@asynccontextmanager
async def _database(url: str | None, schema: str) -> AsyncGenerator[Database]:
    async with located_database(choose_database(url)) as (located, _):
        yield Database(located, schema=schema)

"""Applies migrations: in order, each once, under a lock, recorded, and without blocking appends for long.

A migration that can run in a transaction does. It gives up soon when it doesn't get a lock, and tries again later. One
that can't, such as ``create index concurrently``, is recorded statement by statement, and goes on from there after a
crash. A schema that doesn't exist yet is made in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg

from perdure.checks import check_seconds
from perdure.errors import (
    ConfigurationError,
    InvalidArgumentError,
    LockHolder,
    SchemaLockedError,
    SchemaOutdatedError,
    SchemaTooNewError,
    SchemaUnknownError,
)
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database, is_pooled
from perdure.stores.postgres.driver_errors import translated_errors
from perdure.stores.postgres.schema.lock_watch import LockWatch
from perdure.stores.postgres.schema.migrations import MIGRATIONS, Migration, MigrationNames, Statement, known_migrations
from perdure.stores.postgres.schema.namespaces import Namespaces
from perdure.stores.postgres.schema.roles import Roles
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

logger = logging.getLogger("perdure.schema")

LOCK_TIMEOUT: Final = 0.5
"""Seconds that appends may have to wait behind a migration that waits for a lock."""
PATIENCE: Final = 60.0
"""Seconds after which a migration that doesn't get its locks fails."""
_LONGEST_PAUSE: Final = 5.0
_SHARED: Final = "the database of DATABASE_URL, as no URL was given; to choose another, set PERDURE_DATABASE_URL"
_NO_LIMIT: Final = 30 * 86400.0
"""Instead of the driver's limit for a statement: the index of a big log takes its time."""


class PendingMigration(NamedTuple):
    """A migration that isn't applied yet."""

    migration: Migration
    done: int = 0
    """Number of its statements that were run already."""


class MigrationState(NamedTuple):
    """Which migrations a schema lacks."""

    is_new: bool
    """Whether the schema has no migrations at all yet."""
    pending: list[PendingMigration]

    @property
    def names(self) -> list[str]:
        """The names of the migrations that are missing."""
        return [pending.migration.name for pending in self.pending]


class Migrator:
    """Brings the schema in a database to the state that this version of Perdure needs.

    Args:
        database: the database and the name of the schema.
        folder: where the migrations are.
        lock_timeout: seconds that appends may have to wait behind a migration that waits for a lock.
        timeout: seconds after which a migration that doesn't get its locks fails.
    """

    def __init__(
        self,
        database: Database,
        folder: Path = MIGRATIONS,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        timeout: float = PATIENCE,
    ) -> None:
        check_wait("lock_timeout", lock_timeout)
        check_wait("timeout", timeout)
        self._database = database
        self._schema = database.schema
        self._names = MigrationNames(database.schema)
        self._roles = Roles(database.schema)
        self._namespaces = Namespaces(database.schema)
        self._known = known_migrations(folder)
        self._lock_timeout = lock_timeout
        self._timeout = timeout
        self._sql = Statements(
            Path(__file__).parents[1] / "sql" / "schema",
            schema=self._names.quoted,
            lock_timeout=_milliseconds(lock_timeout),
        )

    async def check(self, connection: Connection) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the schema is as this version of Perdure needs it."""
        with translated_errors():
            if missing := (await self.state(connection)).names:
                raise SchemaOutdatedError(self._schema, missing)

    async def apply(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Apply what is missing, and return the names.

        Raises:
            SchemaTooNewError: the schema was made by a newer version of Perdure.
            SchemaOutdatedError: the user lacks the right to apply what is missing.
            SchemaLockedError: another session held a lock for too long.
        """
        with translated_errors():
            missing = (await self.state(connection)).names
            if not missing:
                await self._settle_number(connection)
                return []
            async with self._guarded(), self._database.session(direct=True) as own:
                try:
                    return await self._apply_missing(own)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise SchemaOutdatedError(self._schema, missing, forbidden=str(error)) from error

    async def check_number(self, connection: Connection) -> None:
        """Raise NamespaceSharedError if the schema is a copy of another one in its database."""
        with translated_errors():
            await self._namespaces.check(connection)

    async def renumber(self, connection: Connection) -> int:
        """Give the schema's locks a number that no other schema has, and return it.

        Raises:
            SchemaOutdatedError, SchemaTooNewError: the schema isn't that of this version of Perdure.
            SchemaLockedError: a transaction that uses the old number stayed open for too long.
            ConfigurationError: the database's user doesn't own the schema.
        """
        await self.check(connection)
        numbers: list[int] = []
        with translated_errors():
            async with self._guarded(), self._database.session(direct=True) as own:

                async def attempt() -> None:
                    numbers.append(await self._namespaces.renumber(own))

                try:
                    await self._patiently(own, attempt)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise ConfigurationError(
                        f"only the owner of schema {self._schema!r} can give it another number: {error}"
                    ) from error
        logger.info("schema %r has number %d now", self._schema, numbers[-1], extra=keys(operation="renumber"))
        return numbers[-1]

    async def _settle_number(self, connection: Connection) -> None:
        """Record the name of a schema that was renamed or restored, if no other schema has its number."""
        found = await self._namespaces.sharing(connection)
        if found.is_own or found.others:
            return
        try:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(self._sql["limit_lock_waits"])
                await self._namespaces.settle(connection)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.LockNotAvailableError) as error:
            # The store still opens: no other schema has its number. If it is copied later, the copy can't be
            # distinguished from the original, and both need a new number.
            extra = keys(error, operation="migrate")
            logger.info("schema %r: its name can't be recorded now: %s", self._schema, error, extra=extra)

    async def state(self, connection: Connection) -> MigrationState:
        """Which migrations are missing.

        Raises:
            SchemaTooNewError: the schema was made by a newer version of Perdure.
            SchemaUnknownError: a development version before the first release made it, or something else than Perdure.
        """
        if not await connection.fetchval(self._sql["table_exists"], f"{self._names.quoted}.migrations"):
            return MigrationState(is_new=True, pending=[PendingMigration(migration) for migration in self._known])
        try:
            applied = await connection.fetch(self._sql["applied_migrations"])
        except asyncpg.UndefinedColumnError as error:
            raise SchemaUnknownError(self._schema) from error
        recorded = {row["number"]: row for row in applied}
        if (newest := max(recorded, default=0)) > self._known[-1].number:
            raise SchemaTooNewError(self._schema, newest, self._known[-1].number)
        known = {(migration.number, migration.name) for migration in self._known}
        if unknown := [row["name"] for row in applied if (row["number"], row["name"]) not in known]:
            raise SchemaUnknownError(self._schema, unknown)
        return MigrationState(
            is_new=False,
            pending=[
                PendingMigration(migration, recorded[migration.number]["steps"] if migration.number in recorded else 0)
                for migration in self._known
                if migration.number not in recorded or not recorded[migration.number]["is_complete"]
            ],
        )

    @asynccontextmanager
    async def _guarded(self) -> AsyncGenerator[None]:
        """Let only one process at a time migrate the schema, by a lock of a transaction that stays open meanwhile.

        Each attempt to lock doesn't wait, and has a new transaction: an index that is built concurrently waits for the
        end of every transaction that has a snapshot.
        """
        async with self._database.session(direct=True) as guard:
            now = asyncio.get_running_loop().time
            deadline = now() + self._timeout
            while True:
                async with guard.transaction(isolation="read_committed"):
                    if await guard.fetchval(self._sql["lock_migrations"], self._schema):
                        # A simple query comes last, because the portal of an extended one would hold its snapshot.
                        await guard.execute(self._sql["stay_idle"])
                        yield
                        return
                if now() >= deadline:
                    rows = await guard.fetch(self._sql["migrating_sessions"], self._schema)
                    raise SchemaLockedError(self._schema, self._timeout, [LockHolder(*row) for row in rows])
                await asyncio.sleep(random.uniform(0.01, 0.1))

    async def _apply_missing(self, connection: asyncpg.Connection[Any]) -> list[str]:
        state = await self.state(connection)
        if state.is_new:
            await self._make(connection)
        else:
            if any(pending.migration.is_online for pending in state.pending) and await is_pooled(connection):
                raise ConfigurationError(
                    f"schema {self._schema!r}: an index is built while others append, which takes a session, and a "
                    "pooler lends one for a transaction only: give direct_url, or run "
                    "'perdure --database URL db apply' with the URL of the server itself"
                )
            for pending in state.pending:
                await (self._apply_online if pending.migration.is_online else self._apply_in_one)(connection, pending)
        if state.pending:
            applied = ", ".join(state.names)
            is_surprise = self._database.is_of_shared_variable and state.is_new
            logger.log(
                logging.WARNING if is_surprise else logging.INFO,
                "schema %r: applied %s%s",
                *(self._schema, applied, f", in {_SHARED}" if is_surprise else ""),
                extra=keys(operation="migrate"),
            )
        return state.names

    async def _make(self, connection: asyncpg.Connection[Any]) -> None:
        """Make the whole schema, all or nothing. No session uses it yet."""

        async def attempt() -> None:
            names = MigrationNames(self._schema, await self._namespaces.draw(connection))
            if not await connection.fetchval(self._sql["schema_exists"], names.quoted):
                await connection.execute(self._sql["create_schema"])
            await connection.execute(self._sql["create_migrations"])
            for migration in self._known:
                for statement in migration.statements:
                    await connection.execute(names.fill(statement))
                await connection.execute(record(self._sql["record_migration"], migration))

        await self._patiently(connection, attempt)

    async def _apply_in_one(self, connection: asyncpg.Connection[Any], pending: PendingMigration) -> None:
        async def attempt() -> None:
            for statement in pending.migration.statements:
                await connection.execute(self._names.fill(statement), timeout=_NO_LIMIT)
            await connection.execute(record(self._sql["record_migration"], pending.migration))

        await self._patiently(connection, attempt)

    async def _apply_online(self, connection: asyncpg.Connection[Any], pending: PendingMigration) -> None:
        for step, statement in enumerate(pending.migration.statements[pending.done :], pending.done + 1):
            if statement.is_online:
                await self._run_online(connection, statement)

            async def attempt(step: int = step, statement: Statement = statement) -> None:
                if not statement.is_online:
                    await connection.execute(self._names.fill(statement), timeout=_NO_LIMIT)
                await connection.execute(record(self._sql["record_steps"], pending.migration, step))

            await self._patiently(connection, attempt)

    async def _run_online(self, connection: asyncpg.Connection[Any], statement: Statement) -> None:
        """Run a statement that blocks no other session: it may wait longer, and needn't be tried again."""
        await connection.execute(self._sql["allow_long_statement"], _milliseconds(self._timeout))
        watch = LockWatch(self._database, self._timeout)
        index = quote_identifier(statement.name)
        try:
            async with watch.over(connection):
                is_valid = await connection.fetchval(self._sql["index_is_valid"], f"{self._names.quoted}.{index}")
                if is_valid is False:
                    await connection.execute(fill_in(self._sql["drop_index"], index=index), timeout=_NO_LIMIT)
                if not is_valid:
                    await connection.execute(self._names.fill(statement, concurrently=True), timeout=_NO_LIMIT)
        except asyncpg.LockNotAvailableError as error:
            raise SchemaLockedError(self._schema, self._timeout, watch.holders) from error

    async def _patiently(self, connection: asyncpg.Connection[Any], attempt: Callable[[], Awaitable[None]]) -> None:
        """Try in one transaction until it gets its locks. Between attempts, waiting appends go first."""
        now = asyncio.get_running_loop().time
        began = now()
        watch = LockWatch(self._database, self._lock_timeout)
        pause = self._lock_timeout
        while True:
            try:
                async with connection.transaction(isolation="read_committed"), watch.over(connection):
                    await connection.execute(self._sql["limit_lock_waits"])
                    await attempt()
                    await self._settle_rights(connection)
                return
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                if now() - began >= self._timeout:
                    raise SchemaLockedError(self._schema, now() - began, watch.holders) from error
                extra = keys(error, operation="migrate")
                logger.info("schema %r: a lock is held, next attempt soon: %s", self._schema, error, extra=extra)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _settle_rights(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute(self._sql["close_to_public"])
        if not (await self.state(connection)).pending:
            await self._roles.repeat(connection)


def record(sql: str, migration: Migration, steps: int | None = None) -> str:
    """Return the statement that records a migration, or how many of its statements were run."""
    total = len(migration.statements)
    done = total if steps is None else steps
    complete = "true" if done == total else "false"
    return fill_in(sql, number=str(migration.number), name=migration.name, steps=str(done), is_complete=complete)


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def check_wait(argument: str, seconds: float) -> None:
    """Raise InvalidArgumentError unless it is a time that PostgreSQL can wait for: 0 would mean for ever."""
    check_seconds(argument, seconds)
    if seconds < 0.001:
        raise InvalidArgumentError(argument, f"must be at least a millisecond, not {seconds}")

"""The audit log: what was done to a projection, by whom, when and why. Operator actions are written through it."""

from __future__ import annotations

import getpass
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from perdure.checks import check_instance, checked_id
from perdure.context import current_context
from perdure.errors import ReadOnlyStoreError, UnknownProjectionError
from perdure.projections.sql import statements
from perdure.projections.state.identity import BuildId
from perdure.projections.state.shown_rows import read_names
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database, database_of

AUTOMATIC: Final = "perdure"
"""The actor of actions that no person asked for."""


class AuditEntry(NamedTuple):
    """An action on a build, with its actor and reason."""

    action: str
    actor: str = AUTOMATIC
    reason: str | None = None


class AuditLog:
    """Writes entries of the audit log, in the transaction of the action itself.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._sql = statements("audit_log", schema=database.quoted_schema)

    async def record(self, connection: Connection, build: BuildId, entry: AuditEntry, detail: object = None) -> None:
        """Write an entry.

        Args:
            connection: where the transaction is.
            build: the build that the action changes.
            entry: the action.
            detail: what else belongs to it, as a value that JSON can hold.
        """
        encoded = None if detail is None else msgspec.json.encode(detail).decode()
        await connection.execute(self._sql["record"], *build, entry.action, entry.actor, entry.reason, encoded)


class AuditedOperations:
    """The base of operator actions: checks that they may run, and writes them to the audit log.

    Args:
        store: where the projections are.
        actor: the actor in the audit log. By default the `user_id` of the context, or the user of the operating system.
    """

    def __init__(self, store: EventStore, *, actor: str | None = None) -> None:
        check_instance("store", store, EventStore)
        database = database_of(store)
        if actor is not None:
            checked_id("actor", actor)
        self._store = store
        self._database = database
        self._actor = actor
        self._sql = statements("operations", schema=database.quoted_schema)
        self._audit_log = AuditLog(database)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection]:
        """Open a transaction, and wake the runners after its commit."""
        async with self._database.connection() as connection, connection.transaction():
            yield connection
        self._store.wake()

    async def _log(
        self, connection: Connection, build: tuple[str, int, int], action: str, reason: str | None, detail: Any = None
    ) -> None:
        await self._audit_log.record(connection, BuildId(*build), self._entry(action, reason), detail)

    def _entry(self, action: str, reason: str | None) -> AuditEntry:
        return AuditEntry(action, self._actor or actor(), reason)

    async def _check_may_act(self, name: str) -> None:
        if self._store.is_read_only:
            raise ReadOnlyStoreError
        await self._check(name)

    async def _check(self, name: str) -> None:
        names = await read_names(self._database)
        if name not in names:
            raise UnknownProjectionError(name, names, in_database=True)


def actor() -> str:
    """Return the default actor: the user of the current context, or ``user@host`` of the process."""
    if user := current_context().user_id:
        return user
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()

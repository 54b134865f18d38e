"""The record of what was done to projections."""

from __future__ import annotations

import getpass
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from perdure.checks import check_instance, checked_id
from perdure.context import current_context
from perdure.errors import ReadOnlyStoreError, UnknownProjectionError, UnsupportedOperationError
from perdure.projections.state.identity import BuildId
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.store import PostgreSQLEventStore

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "audit_log"

AUTOMATIC: Final = "perdure"
"""Who acts when nobody asked."""


class AuditEntry(NamedTuple):
    """What is done to a build, by whom and why."""

    action: str
    actor: str = AUTOMATIC
    reason: str | None = None


class AuditLog:
    """Keeps what was done, in the transaction in which it is done.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)["record"]

    async def record(self, connection: Connection, build: BuildId, entry: AuditEntry, detail: object = None) -> None:
        """Keep a entry, with what else is to be known of it."""
        encoded = None if detail is None else msgspec.json.encode(detail).decode()
        await connection.execute(self._sql, *build, entry.action, entry.actor, entry.reason, encoded)


_SQL: Final = Path(__file__).parents[1] / "sql"


class AuditedOperations:
    """One who does something to projections.

    Args:
        store: where the projections are.
        actor: who it is, for the record; unless given, the `user_id` of the context, or the system's user.
    """

    def __init__(self, store: EventStore, *, actor: str | None = None) -> None:
        check_instance("store", store, EventStore)
        if not isinstance(store, PostgreSQLEventStore):
            raise UnsupportedOperationError(f"{type(store).__name__} keeps no projections: use a PostgreSQLEventStore")
        if actor is not None:
            checked_id("actor", actor)
        self._store = store
        self._database = store.database
        self._actor = actor
        self._sql = Statements(_SQL / "operations", schema=store.database.quoted_schema)
        self._audit_log = AuditLog(store.database)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection]:
        """A transaction; those who run projections are woken after it."""
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
        names = [row["name"] for row in await self._database.fetch(self._sql["names"])]
        if name not in names:
            raise UnknownProjectionError(name, names)


def actor() -> str:
    """Who acts, for the record."""
    if user := current_context().user_id:
        return user
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()

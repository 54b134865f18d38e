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
from perdure.errors import ReadOnlyStoreError, UnknownProjectionError
from perdure.projections.state.identity import BuildId
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database, database_of
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "audit_log"

ITSELF: Final = "perdure"
"""Who acts when nobody asked."""


class Deed(NamedTuple):
    """What is done to a build, by whom and why."""

    action: str
    actor: str = ITSELF
    reason: str | None = None


class Record:
    """Keeps what was done, in the transaction in which it is done.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)["record"]

    async def keep(self, connection: Connection, build: BuildId, deed: Deed, detail: object = None) -> None:
        """Keep a deed, with what else is to be known of it."""
        encoded = None if detail is None else msgspec.json.encode(detail).decode()
        await connection.execute(self._sql, *build, deed.action, deed.actor, deed.reason, encoded)


_SQL: Final = Path(__file__).parents[1] / "sql"


class Acting:
    """One who does something to projections.

    Args:
        store: where the projections are.
        actor: who it is, for the record; unless given, the `user_id` of the context, or the system's user.
    """

    def __init__(self, store: EventStore, *, actor: str | None = None) -> None:
        check_instance("store", store, EventStore)
        database = database_of(store)
        if actor is not None:
            checked_id("actor", actor)
        self._store = store
        self._database = database
        self._actor = actor
        self._sql = Statements(_SQL / "operations", schema=database.quoted_schema)
        self._record = Record(database)

    @asynccontextmanager
    async def _acting(self) -> AsyncGenerator[Connection]:
        """A transaction; those who run projections are woken after it."""
        async with self._database.connection() as connection, connection.transaction():
            yield connection
        self._store.wake()

    async def _keep(
        self, connection: Connection, build: tuple[str, int, int], action: str, reason: str | None, detail: Any = None
    ) -> None:
        await self._record.keep(connection, BuildId(*build), self._deed(action, reason), detail)

    def _deed(self, action: str, reason: str | None) -> Deed:
        return Deed(action, self._actor or actor(), reason)

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

"""The caller's own transaction, in which appends take part: all of it is committed, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast
from uuid import UUID

import asyncpg
from asyncpg.transaction import Transaction as DriverTransaction

from perdure.commit import AppendResult, Commit, CommitGroup
from perdure.errors import OutcomeUnknownError, PerdureError, TransactionError
from perdure.observation import keys
from perdure.store import Transaction
from perdure.stores.postgres.appends import Appends
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.failures import CONNECTION_LOST, confirmed, translated_errors
from perdure.stores.postgres.statements import Statements

logger = logging.getLogger("perdure.postgres")


class _Lent:
    """A connection of the pool while it is lent to a caller: somebody else has it afterwards."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise TransactionError("the transaction has ended, and its connection is somebody else's: ask for another")
        return getattr(self._connection, name)

    def give_back(self) -> None:
        """Be of no more use."""
        self._connection = None


class PostgreSQLTransaction(Transaction):
    """A transaction on `connection`, begun by ``async with`` and committed at its end, or rolled back by an exception.

    Followers of the log wait for it as long as it is open after its first append: append last, and commit soon.

    Attributes:
        connection: where the caller's own statements go. One that the store has lent is of no use after the block.
    """

    connection: Connection
    _session: Connection

    def __init__(self, database: Database, connection: Connection | None, ring: Callable[[], None]) -> None:
        super().__init__()
        self._database = database
        self._given = connection
        self._ring = ring
        self._appends = Appends(database.quoted_schema)
        self._sql = Statements(Path(__file__).parent / "sql", schema=database.quoted_schema)
        self._event_ids: list[UUID] = []
        self._stack = AsyncExitStack()
        self._is_used = False
        self._transaction: DriverTransaction | None = None

    def is_of(self, database: Database) -> bool:
        """Whether it was made by the store on this database and schema."""
        return self._database is database

    @property
    def is_open(self) -> bool:
        """Whether something can be done in it: within its ``async with`` block."""
        return self._transaction is not None and self._session.is_in_transaction()

    async def __aenter__(self) -> Self:
        if self._is_used:
            raise TransactionError("a transaction is begun once: ask the store for another")
        if self._given is not None and self._given.is_in_transaction():
            raise TransactionError(
                "the connection is in a transaction already, of whose commit the store would not learn: "
                "begin it with 'async with store.transaction(connection)'"
            )
        if self._given is None:
            self._session = await self._stack.enter_async_context(self._database.connection())
            self._stack.push_async_callback(self._leave_no_trace)
            lent = _Lent(self._session)
            self._stack.callback(lent.give_back)
            self.connection = cast("Connection", lent)
        else:
            self.connection = self._session = self._given
        try:
            with translated_errors():
                transaction = self._session.transaction(isolation="read_committed")
                await transaction.start()
        except BaseException:
            await self._stack.aclose()
            raise
        self._is_used = True
        self._transaction = transaction
        return self

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit within the transaction, waiting for the stream if another transaction appends to it."""
        with self._appending():
            await self._check_settings()
            outcome = await self._appends.one(self._session, commit, look_up=True)
        if isinstance(outcome, PerdureError):
            raise outcome
        self._event_ids += [event.event_id for event in commit.events]
        return outcome

    async def append_group(self, group: CommitGroup) -> list[AppendResult]:
        """Append a group of commits within the transaction, waiting for their streams."""
        with self._appending():
            await self._check_settings()
            outcome = await self._appends.group(self._session, group, look_up=True)
        if isinstance(outcome, PerdureError):
            raise outcome
        self._event_ids += group.event_ids
        return outcome

    async def __aexit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        assert self._transaction is not None  # noqa: S101 - __aenter__ has returned
        transaction, self._transaction = self._transaction, None
        async with self._stack:
            with translated_errors():
                if exc_type is not None:
                    await _roll_back(transaction)
                    return
                await self._commit(transaction)
        if self._event_ids:
            self._ring()
        for callback in self._after_commit:
            callback()

    @contextmanager
    def _appending(self) -> Generator[None]:
        if not self.is_open:
            raise TransactionError("the transaction isn't open: append within its 'async with' block")
        with translated_errors():
            yield

    async def _check_settings(self) -> None:
        settings = await self._session.fetchrow(self._sql["transaction_settings"])
        assert settings is not None  # noqa: S101 - a select without from returns one row
        if (isolation := settings["isolation"]) != "read committed":
            raise TransactionError(f"events are appended under READ COMMITTED only, not under {isolation.upper()}")
        if settings["synchronous_commit"] == "off":
            raise TransactionError("synchronous_commit is off, which loses acknowledged events in a crash: turn it on")

    async def _leave_no_trace(self) -> None:
        """What the caller set in the session must not meet the next user of the connection."""
        try:
            await self._session.execute(self._sql["reset_role"])
            await self._session.reset()
        except BaseException as error:
            told = keys(error, operation="transaction")
            logger.debug("dropping a connection that could not be reset: %s", error, extra=told)
            with suppress(asyncpg.InterfaceError):  # the pool has dropped it already
                self._session.terminate()
            if not isinstance(error, (asyncpg.PostgresError, *CONNECTION_LOST)):
                raise

    async def _commit(self, transaction: DriverTransaction) -> None:
        try:
            # The COMMIT of a transaction in which a statement failed rolls back without a word. A query speaks up.
            await self._session.fetchrow(self._sql["transaction_settings"])
        except asyncpg.InFailedSQLTransactionError as error:
            await _roll_back(transaction)
            raise TransactionError(
                "a statement failed in the transaction, so PostgreSQL has rolled all of it back: "
                "let its error leave the block, or run it in a savepoint (async with tx.connection.transaction())"
            ) from error
        try:
            with confirmed(self._session):
                await transaction.commit()
        except CONNECTION_LOST as error:
            if self._event_ids:
                raise OutcomeUnknownError(self._event_ids) from error
            raise


async def _roll_back(transaction: DriverTransaction) -> None:
    try:
        await transaction.rollback()
    except CONNECTION_LOST as error:
        # The server rolls back what a lost connection leaves, and the caller must hear of the first error.
        logger.debug("could not roll back: %s", error, extra=keys(error, operation="transaction"))

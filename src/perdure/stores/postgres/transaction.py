"""The caller's own transaction, in which appends take part: all of it is committed, or none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from uuid import UUID

from asyncpg.transaction import Transaction as DriverTransaction

from perdure.errors import OutcomeUnknownError, PerdureError, StoreOverloadedError, TransactionError
from perdure.store import AppendResult, Commit, Transaction
from perdure.stores.postgres.appends import Appends
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.failures import CONNECTION_LOST, translated_errors
from perdure.stores.postgres.statements import Statements


class PostgreSQLTransaction(Transaction):
    """A transaction on `connection`, begun by ``async with`` and committed at its end, or rolled back by an exception.

    Followers of the log wait for it as long as it is open after its first append: append last, and commit soon.

    Attributes:
        connection: where the caller's own statements go. Don't use it after the block.
    """

    connection: Connection

    def __init__(self, database: Database, connection: Connection | None, ring: Callable[[], None]) -> None:
        super().__init__()
        self._database = database
        self._given = connection
        self._ring = ring
        self._appends = Appends(database.quoted_schema)
        self._sql = Statements(Path(__file__).parent / "sql", schema=database.quoted_schema)
        self._event_ids: list[UUID] = []
        self._stack = AsyncExitStack()
        self._transaction: DriverTransaction | None = None

    async def __aenter__(self) -> Self:
        if self._transaction is not None:
            raise TransactionError("a transaction is begun once: ask the store for another")
        if self._given is not None and self._given.is_in_transaction():
            raise TransactionError(
                "the connection is in a transaction already, of whose commit the store would not learn: "
                "begin it with 'async with store.transaction(connection)'"
            )
        if self._given is None:
            self.connection = await self._stack.enter_async_context(self._database.connection())
        else:
            self.connection = self._given
        try:
            with translated_errors():
                self._transaction = self.connection.transaction(isolation="read_committed")
                await self._transaction.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit within the transaction, waiting for the stream if another transaction appends to it."""
        if self._transaction is None or not self.connection.is_in_transaction():
            raise TransactionError("the transaction isn't open: append within its 'async with' block")
        with translated_errors():
            isolation = await self.connection.fetchval(self._sql["transaction_isolation"])
            if isolation != "read committed":
                raise TransactionError(f"events are appended under READ COMMITTED only, not under {isolation.upper()}")
            outcome = await self._appends.one(self.connection, commit, look_up=True)
        if isinstance(outcome, PerdureError):
            raise outcome
        if outcome is None:
            raise StoreOverloadedError(f"stream {commit.stream_id!r} was locked", 0)
        self._event_ids += [event.event_id for event in commit.events]
        return outcome

    async def __aexit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        assert self._transaction is not None  # noqa: S101 - __aenter__ has returned
        async with self._stack:
            if exc_type is not None:
                with translated_errors():
                    await self._transaction.rollback()
                return
            await self._commit(self._transaction)
        if self._event_ids:
            self._ring()
        for callback in self._after_commit:
            callback()

    async def _commit(self, transaction: DriverTransaction) -> None:
        try:
            await transaction.commit()
        except CONNECTION_LOST as error:
            if self._event_ids:
                raise OutcomeUnknownError(self._event_ids) from error
            raise

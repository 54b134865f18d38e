"""A caller's transaction that the store begins and ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Self, cast

import asyncpg
from asyncpg.transaction import Transaction as DriverTransaction

from perdure.errors import OutcomeUnknownError, TransactionEndedError, TransactionError
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, confirmed, translated_errors
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction

logger = logging.getLogger("perdure.postgres")


class _Lent:
    """A connection of the pool while it is lent to a caller. Afterwards, other callers use it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise TransactionError(
                "the transaction has ended, and its connection is the pool's again: begin another transaction"
            )
        return getattr(self._connection, name)

    def give_back(self) -> None:
        """Refuse any further use."""
        self._connection = None


class OwnTransaction(PostgreSQLTransaction):
    """Begun by ``async with`` and committed at its end, or rolled back by an exception."""

    _transaction: DriverTransaction

    def __init__(self, database: Database, notify: Callable[[], None], connection: Connection | None) -> None:
        super().__init__(database, notify)
        self._given = connection
        self._lent: _Lent | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._check_unused()
        if self._given is not None and self._given.is_in_transaction():
            raise TransactionError(
                "the connection is in a transaction already: begin it with 'async with store.transaction(connection)', "
                'or append in it with store.transaction(connection, commit="caller")'
            )
        if self._given is None:
            self._session = await self._stack.enter_async_context(self._database.connection())
            self._stack.push_async_callback(self._leave_no_trace)
            self._lent = _Lent(self._session)
            self._stack.callback(self._lent.give_back)
            self.connection = cast("Connection", self._lent)
        else:
            self.connection = self._session = self._given
        try:
            with translated_errors():
                await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        self._is_used = self._is_entered = True
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self._is_entered = False
        async with self._stack:
            if self._lent is not None:
                # Code left running from the block must not end the transaction after the checks.
                self._lent.give_back()
            with translated_errors():
                if exc_type is not None:
                    await self._roll_back()
                    return
                await self._commit()
            if self._appended:
                self._notify()
            self._confirm()

    async def _begin(self) -> None:
        self._transaction = self._session.transaction(isolation="read_committed")
        await self._transaction.start()
        try:
            await self._mark.put_on(self._session)
        except BaseException:
            await self._roll_back()
            raise

    async def _commit(self) -> None:
        try:
            await self._forget_taken_back()
            await self._check_savepoints()
        except TransactionEndedError as error:
            await self._roll_back(look_for_events=False)
            if error.written:
                self._notify()
            raise
        except BaseException:
            await self._roll_back()
            raise
        try:
            with confirmed(self._session):
                await self._transaction.commit()
        except CONNECTION_LOST as error:
            raise OutcomeUnknownError(self._event_ids) from error
        except asyncpg.PostgresError:
            self._take_back()
            raise

    async def _check_savepoints(self) -> None:
        """Raise if a savepoint on the caller's connection is still open at the end of the block.

        A session of SQLAlchemy that begins inside the block does this: it uses the savepoint as its transaction. A
        commit here would commit the session's work, and the session would fail afterwards.
        """
        if self._given is None or not self._appended:
            return
        await self._session.fetchrow(self._sql["assign_transaction_id"])
        if await self._session.fetchval(self._sql["open_savepoints"]):
            raise TransactionError(
                "a savepoint is open at the end of the block, perhaps of a session of SQLAlchemy that began in it; "
                "all of it was rolled back: end the savepoint or the session's transaction within the block, "
                'or let the session begin first, and append with store.transaction(connection, commit="caller")'
            )

    async def _roll_back(self, *, look_for_events: bool = True) -> None:
        try:
            await self._transaction.rollback()
            if look_for_events:
                await self._settle_rolled_back()
        except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
            # If the connection is lost, the server rolls back. The caller must get the first error, not this one.
            logger.debug("could not roll back: %s", error, extra=keys(error, operation="transaction"))

    async def _settle_rolled_back(self) -> None:
        # A statement in the block may have committed: then its events must not be reported as not written.
        written = await self._found(self._session)
        if not written:
            self._take_back()
            return
        self._notify()
        text = "a statement inside the block of a transaction has committed: %d of its %d events are in the log"
        logger.warning(text, len(written), len(self._event_ids), extra=keys(operation="transaction"))

    async def _leave_no_trace(self) -> None:
        """Reset the session, so that the caller's settings don't affect the next user of the connection."""
        try:
            await self._session.execute(self._sql["reset_role"])
            await self._session.reset()
        except BaseException as error:
            extra = keys(error, operation="transaction")
            logger.debug("dropping a connection that could not be reset: %s", error, extra=extra)
            with suppress(asyncpg.InterfaceError):  # the pool has dropped it already
                self._session.terminate()
            if not isinstance(error, (asyncpg.PostgresError, *CONNECTION_LOST)):
                raise

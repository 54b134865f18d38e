"""A transaction that other code begins and ends, such as a session of SQLAlchemy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self
from uuid import UUID

import asyncpg

from perdure.errors import TransactionError
from perdure.observation import keys
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, confirmed, translated_errors
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction, check_settings
from perdure.stores.postgres.transactions.transaction_mark import set_mark

logger = logging.getLogger("perdure.postgres")


class JoinedTransaction(PostgreSQLTransaction):
    """A transaction that other code has begun on `connection`, and commits or rolls back after the block.

    The store can't see how it ends, so report it: by `committed` or `rolled_back`. Until then, the callbacks of
    `after_commit` aren't called, and aggregates that were saved in it keep their events. Saving such an aggregate again
    is safe: its events are written once. Without a report, followers see the events a little later.

    Made by ``store.transaction(connection, commit="caller")``.

    Example:
        async with session.begin():  # of SQLAlchemy
            await session.execute(insert(orders).values(id="7"))
            raw = (await (await session.connection()).get_raw_connection()).driver_connection
            async with store.transaction(raw, commit="caller") as tx:
                await users.save(user, tx=tx)
        await tx.committed()
    """

    def __init__(self, database: Database, notify: Callable[[], None], connection: Connection) -> None:
        super().__init__(database, notify)
        self.connection = self._session = connection
        self._outer_mark = ""
        """The mark of the store's transaction whose block is around this one, if any."""
        self._is_complete = False
        """Whether its block was left without an error, so that a commit writes all events."""
        self._is_reported = False

    async def __aenter__(self) -> Self:
        self._check_unused()
        if not self._session.is_in_transaction():
            raise TransactionError(
                "the connection isn't in a transaction that could be joined: begin one first, and execute a statement "
                'in it, because some frameworks (SQLAlchemy) begin it only then; or leave out commit="caller"'
            )
        with translated_errors():
            settings = await self._settings()
            check_settings(settings)
            self._outer_mark = settings["mark"] or ""
            await self._mark.put_on(self._session)
        self._is_used = self._is_entered = True
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self._is_entered = False
        if exc_type is not None:
            with suppress(asyncpg.PostgresError, *CONNECTION_LOST):  # usually, the whole transaction is rolled back now
                await self._take_off_mark()
            return
        with translated_errors():
            await self._forget_taken_back()
            await self._take_off_mark()
        self._is_complete = True

    def __del__(self) -> None:
        if self._is_complete and not self._is_reported and (self._appended or self._after_commit):
            logger.warning(
                "neither committed() nor rolled_back() was called for a transaction with %d appends: "
                "callbacks of after_commit() weren't called, and aggregates that were saved in it keep their events",
                len(self._appended),
                extra=keys(operation="transaction", appends=len(self._appended)),
            )

    async def committed(self) -> None:
        """Report that the transaction was committed.

        The store looks for the events in the log. Then it wakes followers, marks aggregates as saved, and calls the
        callbacks of `after_commit`. If the answer to the commit was lost, call it, too: it raises no error if the
        events are there.

        Raises:
            TransactionError: events that were appended in the transaction aren't in the log, because it was rolled back
                or hasn't ended. Or its block wasn't left yet, or its end was reported already.
            StoreUnavailableError, StoreOverloadedError: the store can't read the log now: call it again.
        """
        self._check_left()
        self._is_reported = True
        try:
            found = await self._found_for_good()
        except BaseException:
            self._is_reported = False
            raise
        self._take_back(all_but=found)
        if found:
            self._notify()
        self._confirm()

    def rolled_back(self) -> None:
        """Report that the transaction was rolled back, or that a savepoint was that began before its block.

        If the answer to a commit was lost, call `committed` instead. It does nothing if the block was never entered.

        Raises:
            TransactionError: its block wasn't left yet, or its end was reported already.
        """
        if not self._is_used:
            return
        self._check_left()
        self._is_reported = True
        self._take_back()

    def _check_left(self) -> None:
        if not self._is_used or self._is_entered:
            raise TransactionError("the end of a transaction can only be reported after its 'async with' block")
        if self._is_reported:
            raise TransactionError("the end of the transaction was reported already: join another with another block")

    async def _take_off_mark(self) -> None:
        if self._outer_mark:
            await set_mark(self._session, self._outer_mark)

    async def _found_for_good(self) -> Sequence[UUID]:
        if not self._appended:
            return ()
        async with self._database.connection() as connection:
            with confirmed(connection):
                found = await self._found(connection, "confirmed_event_ids")
        missing = len(self._event_ids) - len(found)
        if missing and self._is_complete:
            raise TransactionError(
                f"{missing} of the {len(self._event_ids)} events of the transaction aren't in the log: it hasn't ended "
                "or was rolled back, perhaps to a savepoint: call committed() after its commit, or else rolled_back()"
            )
        return found

"""A caller's transaction that appends take part in: all of it is committed, or nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from perdure.checks import check_seconds
from perdure.commit import AppendResult, Commit, CommitGroup
from perdure.errors import AggregateBusyError, DeadlockError, PerdureError, TransactionEndedError, TransactionError
from perdure.events import check_stream_id
from perdure.repeat import first_result
from perdure.stores.postgres.appends.statements import Appends
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated_errors
from perdure.stores.postgres.snapshots import SnapshotTable
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.transactions.transaction_mark import TransactionMark
from perdure.stores.postgres.transactions.transaction_reader import TransactionReader, TransactionSource
from perdure.transaction import Transaction

_TIME_TO_ANSWER: Final = 30.0
"""Seconds that the server may take to say that a lock is in use, after the time to wait for it."""


class PostgreSQLTransaction(Transaction):
    """A transaction on `connection` that appends and reads take part in, within its ``async with`` block.

    The store begins it with the block, and commits it at the end, or rolls it back after an exception. A transaction
    that other code begins and ends is a `JoinedTransaction`.

    After its first append, followers of the log wait until it ends: append last, and commit soon.

    Attributes:
        connection: For the caller's own statements. A connection of the store's pool can't be used after the block.
    """

    connection: Connection
    _session: Connection

    def __init__(self, database: Database, notify: Callable[[], None]) -> None:
        super().__init__()
        self._database = database
        self._notify = notify
        self._statements = Appends(database.quoted_schema)
        self._sql = Statements(Path(__file__).parents[1] / "sql" / "transactions", schema=database.quoted_schema)
        self._mark = TransactionMark()
        self._appended: dict[int, list[UUID]] = {}
        """The ids of the events of each append, by its number."""
        self._is_entered = False
        self._is_used = False

    def is_of(self, database: Database) -> bool:
        """Whether it was made by the store on this database and schema."""
        return self._database is database

    @property
    def is_open(self) -> bool:
        """Whether it can be used: its ``async with`` block is entered, and the session is in a transaction."""
        return self._is_entered and self._session.is_in_transaction()

    @property
    def reader(self) -> TransactionReader:
        """Reads streams on the connection of the transaction. See `Transaction.reader`."""
        return TransactionReader(self._database, TransactionSource(self.reading))

    @property
    def snapshots(self) -> SnapshotTable:
        """Reads snapshots on the connection of the transaction."""
        return SnapshotTable(self._database, TransactionSource(self.reading))

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Connection]:
        """Lend the connection for statements that read in the transaction.

        Raises:
            TransactionError: the transaction isn't open, or a statement has failed in it.
            TransactionEndedError: the session isn't in the transaction any more.
        """
        with self._checking():
            self._check_mark(await self._found_mark())
            yield self._session

    async def lock_stream(self, stream_id: str, timeout: float) -> None:
        """Keep every other writer of a stream waiting until the transaction ends. See `Transaction.lock_stream`.

        It takes the lock that each append to the stream takes.
        """
        check_stream_id(stream_id)
        check_seconds("timeout", timeout)
        with self._checking():
            self._check_mark(await self._found_mark())
            before = await self._session.fetchval(self._sql["lock_timeout"])
            await self._session.fetchval(self._sql["set_lock_timeout"], f"{max(1, round(timeout * 1000))}ms")
            try:
                # The statement may wait longer than others do.
                await self._session.fetchval(self._sql["lock_stream"], stream_id, timeout=timeout + _TIME_TO_ANSWER)
            except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:  # by a statement_timeout
                raise AggregateBusyError(stream_id, timeout) from error
            await self._session.fetchval(self._sql["set_lock_timeout"], before)

    async def append(self, commit: Commit) -> AppendResult:
        """Append a commit within the transaction, waiting for the stream if another transaction appends to it."""
        with self._appending():
            number = await self._next_append()
            outcome = await self._statements.append_commit(self._session, commit, look_up=True)
        if isinstance(outcome, PerdureError):
            raise outcome
        result = first_result(commit, outcome)
        self._appended[number] = commit.stored_ids(result)
        return result

    async def append_group(self, group: CommitGroup) -> list[AppendResult]:
        """Append a group of commits within the transaction, waiting for their streams."""
        with self._appending():
            number = await self._next_append()
            outcome = await self._statements.append_group(self._session, group, look_up=True)
        if isinstance(outcome, PerdureError):
            raise outcome
        self._appended[number] = [
            event_id
            for commit, result in zip(group.commits, outcome, strict=True)
            for event_id in commit.stored_ids(result)
        ]
        return outcome

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo what is done in the block, including appends, if the block raises. The rest of the transaction remains.

        It does the same as ``connection.transaction()``, but also works if a statement began the transaction, which the
        driver refuses.

        Raises:
            TransactionEndedError: the session isn't in the transaction any more.
        """
        with self._checking():
            await self._session.execute(self._sql["set_savepoint"])
        try:
            yield
        except BaseException:
            with suppress(
                asyncpg.PostgresError, *CONNECTION_LOST
            ):  # the first error counts, and fails the transaction anyway
                await self._session.execute(self._sql["undo_savepoint"])
                await self._session.execute(self._sql["release_savepoint"])
            raise
        with self._checking():
            await self._session.execute(self._sql["release_savepoint"])

    @property
    def _event_ids(self) -> list[UUID]:
        return [event_id for event_ids in self._appended.values() for event_id in event_ids]

    def _check_unused(self) -> None:
        if self._is_used:
            raise TransactionError("a transaction can be entered only once: ask the store for another")

    @contextmanager
    def _checking(self) -> Generator[None]:
        if not self._is_entered:
            raise TransactionError("the transaction isn't open: use it within its 'async with' block")
        if not self.is_open:
            raise TransactionEndedError(self._event_ids, None)
        with translated_errors():
            try:
                yield
            except asyncpg.InterfaceError as error:
                if self._session.is_closed():
                    raise
                raise TransactionError(
                    f"the connection of the transaction can't be used now: {error}: "
                    "let only one task at a time use a transaction"
                ) from error

    @contextmanager
    def _appending(self) -> Generator[None]:
        try:
            with self._checking():
                yield
        except DeadlockError as error:
            raise DeadlockError(
                f"{error}; to avoid it, change your own tables first in each transaction, and append last, to all "
                "streams by one append_to_streams() or save_all()"
            ) from error

    async def _next_append(self) -> int:
        """Return the number of the next append. Raise if events can't be appended now."""
        number = self._mark.next_append()
        settings = await self._settings(number)
        self._check_mark(settings["mark"])
        self._mark.note(number, settings["mark"])
        check_settings(settings)
        return number

    def _check_mark(self, found: str | None) -> None:
        if self._mark.is_mark(found):
            return
        if found:
            raise TransactionError("another transaction of a store is open on the connection: use that one")
        raise TransactionEndedError(self._event_ids, None)

    async def _found_mark(self) -> str | None:
        """Return the mark that the session's transaction has now.

        Raises:
            TransactionError: a statement has failed in it, so that nothing can be read and it can't be committed.
        """
        try:
            found: str | None = await self._session.fetchval(self._sql["transaction_mark"])
        except asyncpg.InFailedSQLTransactionError as error:
            # COMMIT would roll back without an error.
            raise TransactionError(
                "a statement failed in the transaction, so PostgreSQL has rolled all of it back: "
                "let its error leave the block, or run it in a savepoint (async with tx.savepoint())"
            ) from error
        return found

    async def _settings(self, number: int = 0) -> dict[str, str]:
        settings = await self._session.fetchrow(self._sql["transaction_settings"], self._mark.prefix, number)
        assert settings is not None  # noqa: S101 - a select from one value returns one row
        return dict(settings)

    async def _forget_taken_back(self) -> None:
        """Forget the appends that a rollback to a savepoint has undone, before the commit.

        Raises:
            TransactionError: a statement has failed in the transaction, so that it can't be committed.
            TransactionEndedError: the session isn't in the transaction any more.
        """
        found = await self._found_mark()
        if found is None or not self._mark.is_mark(found):
            raise TransactionEndedError(self._event_ids, await self._found(self._session))
        there = self._mark.appends(found)
        self._appended = {number: event_ids for number, event_ids in self._appended.items() if number in there}
        self._take_back(all_but=self._event_ids)

    async def _found(self, connection: Connection, statement: str = "stored_event_ids") -> Sequence[UUID]:
        """Return the ids of the events that are in the log, as the connection sees it."""
        if not self._event_ids:
            return ()
        rows = await connection.fetch(self._sql[statement], self._event_ids)
        found = {row["event_id"] for row in rows}
        return [event_id for event_id in self._event_ids if event_id in found]


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise unless events may be appended in a transaction with these settings."""
    if (isolation := settings["isolation"]) != "read committed":
        raise TransactionError(f"events can be appended under READ COMMITTED only, not under {isolation.upper()}")
    if settings["synchronous_commit"] == "off":
        raise TransactionError("synchronous_commit is off, which loses acknowledged events in a crash: turn it on")

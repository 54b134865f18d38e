"""The transaction of a batch: it queues the statements of handlers, and sends them before any query."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from typing import Any, Final

import asyncpg

from perdure.projections.engine import check_constraints
from perdure.projections.engines.custom.storage import CustomTables
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated

_MUTABLE: Final = (list, dict, set, bytearray)
_ENDED: Final = ("25P01", "3B001")
"""SQLSTATEs for a session without a transaction, or without the savepoint that was set."""
_NO_EVENT_FAULT: Final = ("08", "40", "53", "55P03", "57P", "58")
"""SQLSTATEs of errors that no event caused: connections, conflicts, resources, shutdowns."""


class HandlerEndedTransactionError(Exception):
    """A handler's statement has ended the transaction, or the savepoint of its event."""


class QueueingTransaction:
    """A `ProjectionTransaction` in a transaction that the caller begins and ends.

    Args:
        connection: the connection of the transaction.
        transaction_id: the id of the transaction.
        tables: the tables, whose names are filled in.
        sql: the statements of the folder ``custom``.
    """

    def __init__(
        self, connection: Connection, transaction_id: str, tables: CustomTables, sql: Mapping[str, str]
    ) -> None:
        self.external_error: Exception | None = None
        """An error that no event caused, and that prevents further use."""
        self.error: Exception | None = None
        """The error of a failed statement, even if the handler caught it."""
        self.is_ended = False
        """Whether a statement has ended the transaction, which only the service may do."""
        self.queued = 0
        """How many statements are queued."""
        self._connection = connection
        self.transaction_id = transaction_id
        self._tables = tables
        self._sql = sql
        self._runs: list[tuple[str, list[tuple[object, ...]]]] = []
        # Handlers, their tasks and the keep-alive task send one statement at a time.
        self._sending_lock = asyncio.Lock()

    def execute(self, sql: str, *arguments: object) -> None:
        """Queue a statement."""
        sql = self._tables.fill(sql)
        values = tuple(map(_frozen, arguments))
        if self._runs and self._runs[-1][0] == sql:
            self._runs[-1][1].append(values)
        else:
            self._runs.append((sql, [values]))
        self.queued += 1

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """Return the rows of a query."""
        rows: list[Any] = await self._query(self._connection.fetch, sql, arguments)
        return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """Return the first row of a query, or None."""
        return await self._query(self._connection.fetchrow, sql, arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of a query, or None."""
        return await self._query(self._connection.fetchval, sql, arguments)

    async def send(self) -> None:
        """Send the queued statements."""
        async with self._sending():
            pass

    async def _query(self, ask: Callable[..., Any], sql: str, arguments: tuple[object, ...]) -> Any:
        async with self._sending():
            return await ask(self._tables.fill(sql), *arguments)

    async def check(self) -> None:
        """Send the queued statements, and check that everything so far can be committed.

        Raises:
            Exception: the error of a failed statement, even if the handler caught it.
        """
        if self.error is not None:
            raise self.error
        async with self._sending():
            await check_constraints(self._connection)

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Run the block in a savepoint: `check` it at the end, and roll it back if it fails.

        Raises:
            HandlerEndedTransactionError: a statement in the block has ended the savepoint or the transaction.
        """
        await self._run("begin_event")
        try:
            yield
            await self.check()
            await self._verify()
            await self._run("end_event")
        except Exception:
            await self._undo()
            raise

    async def _undo(self) -> None:
        self._take_queued()
        self.error = None
        if self.is_ended:
            return
        try:
            await self._run("undo_event")
            await self._verify()
        except HandlerEndedTransactionError:
            raise
        except Exception as error:
            if not self.is_ended:
                self.external_error = error
            raise

    async def is_another(self) -> bool:
        """Return whether the session is now in another transaction, or in none."""
        return bool(await self._connection.fetchval(self._sql["transaction_id"]) != self.transaction_id)

    async def _verify(self) -> None:
        async with self._sending():
            if await self.is_another():
                self.is_ended = True
                raise HandlerEndedTransactionError

    async def _run(self, name: str) -> None:
        async with self._sending():
            await self._connection.execute(self._sql[name])

    @asynccontextmanager
    async def kept_alive(self, every: float) -> AsyncGenerator[None]:
        """Send a statement every few seconds: the server ends a transaction that is idle for too long."""
        task = asyncio.create_task(self._keep_alive(every), name="perdure projection, keep-alive")
        try:
            yield
        finally:
            async with self._sending_lock:  # not while its statement is in progress
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_alive(self, every: float) -> None:
        try:
            while True:
                await asyncio.sleep(every)
                async with self._sending_lock:
                    await self._connection.execute(self._sql["keep_alive"])
        except (asyncpg.PostgresError, *CONNECTION_LOST):
            pass  # the next statement fails with it, too
        except Exception as error:  # noqa: BLE001 - a bug: without this task, the server would end the transaction
            self.error = self.external_error = error

    @asynccontextmanager
    async def _sending(self) -> AsyncGenerator[None]:
        """Lock the connection, and send the queued statements first."""
        async with self._sending_lock:
            with self._recording_errors():
                for sql, rows in self._take_queued():
                    if len(rows) == 1:
                        await self._connection.execute(sql, *rows[0])
                    else:
                        await self._connection.executemany(sql, rows)
                    self._check_not_ended()
                yield
                self._check_not_ended()

    def _check_not_ended(self) -> None:
        # The driver knows this at no cost. A ``rollback; begin`` is found at the end of the event or batch.
        if not self._connection.is_closed() and not self._connection.is_in_transaction():
            self.is_ended = True
            self.error = HandlerEndedTransactionError()
            raise self.error

    def _take_queued(self) -> list[tuple[str, list[tuple[object, ...]]]]:
        runs, self._runs, self.queued = self._runs, [], 0
        return runs

    @contextmanager
    def _recording_errors(self) -> Generator[None]:
        """Raise Perdure's errors instead of the driver's, and record them."""
        try:
            yield
        except Exception as error:
            known = translated(error)
            if known is None:
                raise
            self.error = known
            if getattr(error, "sqlstate", None) in _ENDED:
                self.is_ended = True
            elif self._is_external(error):
                self.external_error = known
            raise known from error

    def _is_external(self, error: Exception) -> bool:
        if isinstance(error, asyncpg.InterfaceError):
            return self._connection.is_closed()  # otherwise the driver refused a value, or the number of values
        if isinstance(error, asyncpg.PostgresError):
            return isinstance(error, CONNECTION_LOST) or (error.sqlstate or "").startswith(_NO_EVENT_FAULT)
        return isinstance(error, CONNECTION_LOST)


def _frozen(value: object) -> object:
    # The handler may change a list before the statement is sent.
    return deepcopy(value) if type(value) in _MUTABLE else value

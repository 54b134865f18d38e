"""The transaction of a batch: what handlers execute in it is queued, and sent before anything is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from typing import Any, Final

import asyncpg

from perdure.projections.engines.custom.storage import CustomTables
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated

_MUTABLE: Final = (list, dict, set, bytearray)
_ENDED: Final = ("25P01", "3B001")
"""SQLSTATEs that tell that the session is in no transaction, or not within the savepoint that was set."""
_TROUBLE: Final = ("08", "40", "53", "55P03", "57P", "58")
"""SQLSTATEs of what is no fault of an event: connections, conflicts with others, resources, shutdowns."""


class HandlerEndedTransactionError(Exception):
    """A statement of a handler has ended the transaction, or the savepoint of its event."""


class QueueingTransaction:
    """A `ProjectionTransaction` on a connection, within a transaction that somebody else begins and ends.

    Args:
        connection: where statements go.
        transaction_id: the id of the transaction.
        tables: fills in the names of the tables.
        sql: the statements of the folder ``handled``.
    """

    def __init__(
        self, connection: Connection, transaction_id: str, tables: CustomTables, sql: Mapping[str, str]
    ) -> None:
        self.trouble: Exception | None = None
        """What keeps it from going on that is no fault of an event."""
        self.error: Exception | None = None
        """What failed of the statements, whatever a handler made of it."""
        self.is_ended = False
        """Whether a statement has ended the transaction, although the service alone does."""
        self.queued = 0
        """How many statements wait to be sent."""
        self._connection = connection
        self.transaction_id = transaction_id
        self._tables = tables
        self._sql = sql
        self._runs: list[tuple[str, list[tuple[object, ...]]]] = []
        # One statement at a time, whoever sends it: handlers, their tasks, and what keeps the transaction alive.
        self._turn = asyncio.Lock()

    def execute(self, sql: str, *arguments: object) -> None:
        """Queue a statement."""
        sql = self._tables.fill(sql)
        values = tuple(map(_kept, arguments))
        if self._runs and self._runs[-1][0] == sql:
            self._runs[-1][1].append(values)
        else:
            self._runs.append((sql, [values]))
        self.queued += 1

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """The rows of a query."""
        rows: list[Any] = await self._query(self._connection.fetch, sql, arguments)
        return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """The first row of a query, or None."""
        return await self._query(self._connection.fetchrow, sql, arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """The first column of the first row of a query, or None."""
        return await self._query(self._connection.fetchval, sql, arguments)

    async def send(self) -> None:
        """Send what is queued."""
        async with self._sending():
            pass

    async def _query(self, ask: Callable[..., Any], sql: str, arguments: tuple[object, ...]) -> Any:
        async with self._sending():
            return await ask(self._tables.fill(sql), *arguments)

    async def check(self) -> None:
        """Send what is queued, and see that all of it would be committed as things are.

        Raises:
            Exception: what failed so far, even if a handler made nothing of it.
        """
        if self.error is not None:
            raise self.error
        async with self._sending():
            await self._connection.execute(self._sql["check_constraints"])

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """What fails within is undone, and nothing else. At its end, `check`.

        Raises:
            HandlerEndedTransactionError: a statement within it has ended it, or the whole transaction.
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
        self._forget()
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
                self.trouble = error
            raise

    async def is_another(self) -> bool:
        """Whether the session is in another transaction by now, or in none."""
        return bool(await self._connection.fetchval(self._sql["transaction"]) != self.transaction_id)

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
        """Send something now and then, for the server ends a transaction in which nothing happens."""
        task = asyncio.create_task(self._keep_alive(every), name="perdure projection, kept alive")
        try:
            yield
        finally:
            async with self._turn:  # not while its statement is under way
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_alive(self, every: float) -> None:
        try:
            while True:
                await asyncio.sleep(every)
                async with self._turn:
                    await self._connection.execute(self._sql["alive"])
        except (asyncpg.PostgresError, *CONNECTION_LOST):
            pass  # the next statement meets it, too
        except Exception as error:  # noqa: BLE001 - a bug: without this task, the server would end the transaction
            self.error = self.trouble = error

    @asynccontextmanager
    async def _sending(self) -> AsyncGenerator[None]:
        """One's turn to use the connection, after what is queued."""
        async with self._turn:
            with self._telling():
                for sql, rows in self._forget():
                    if len(rows) == 1:
                        await self._connection.execute(sql, *rows[0])
                    else:
                        await self._connection.executemany(sql, rows)
                    self._see_that_it_goes_on()
                yield
                self._see_that_it_goes_on()

    def _see_that_it_goes_on(self) -> None:
        # By what the driver knows, at no cost. A ``rollback; begin`` is found at the end of the event, or of the batch.
        if not self._connection.is_closed() and not self._connection.is_in_transaction():
            self.is_ended = True
            self.error = HandlerEndedTransactionError()
            raise self.error

    def _forget(self) -> list[tuple[str, list[tuple[object, ...]]]]:
        runs, self._runs, self.queued = self._runs, [], 0
        return runs

    @contextmanager
    def _telling(self) -> Generator[None]:
        """Raise errors of ours instead of the driver's, and keep those that are no fault of an event."""
        try:
            yield
        except Exception as error:
            ours = translated(error)
            if ours is None:
                raise
            self.error = ours
            if getattr(error, "sqlstate", None) in _ENDED:
                self.is_ended = True
            elif self._is_trouble(error):
                self.trouble = ours
            raise ours from error

    def _is_trouble(self, error: Exception) -> bool:
        if isinstance(error, asyncpg.InterfaceError):
            return self._connection.is_closed()  # else the driver refused a value, or the number of them
        if isinstance(error, asyncpg.PostgresError):
            return isinstance(error, CONNECTION_LOST) or (error.sqlstate or "").startswith(_TROUBLE)
        return isinstance(error, CONNECTION_LOST)


def _kept(value: object) -> object:
    """The value as it is now, whatever the handler does to a list later."""
    return deepcopy(value) if type(value) in _MUTABLE else value

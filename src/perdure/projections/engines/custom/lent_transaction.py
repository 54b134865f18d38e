"""The batch's transaction, lent to one call of a handler: it refuses any use after the handler has returned."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from perdure.errors import ProjectionTransactionError
from perdure.events import StoredEvent
from perdure.projections.engines.custom.transaction import QueueingTransaction
from perdure.projections.engines.custom.transaction_commands import transaction_command

_NO_TASKS: Final = frozenset[asyncio.Task[Any]]()
"""One object for all instances, because each event has an instance."""


class LentTransaction:
    """A `ProjectionTransaction` for one call of a handler.

    Args:
        transaction: the transaction of the batch.
        stored: the event being handled; the first one of several.
    """

    __slots__ = ("_cut", "_idle", "_in_progress", "_stored", "_transaction")

    def __init__(self, transaction: QueueingTransaction, stored: StoredEvent) -> None:
        self._transaction: QueueingTransaction | None = transaction
        self._stored = stored
        self._in_progress = self._cut = _NO_TASKS
        self._idle: asyncio.Event | None = None

    def execute(self, sql: str, *arguments: object) -> None:
        """Queue a statement."""
        self._open_for(sql).execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """Return the rows of a query."""
        rows: list[Any] = await self._ask("fetch", sql, arguments)
        return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """Return the first row of a query, or None."""
        return await self._ask("fetchrow", sql, arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of a query, or None."""
        return await self._ask("fetchval", sql, arguments)

    def take_back(self) -> bool:
        """Refuse any further use. Return whether another task's statement is still in progress."""
        self._transaction = None
        return bool(self._in_progress)

    async def idle(self) -> None:
        """Wait until no statement is in progress."""
        while self._in_progress:
            self._idle = asyncio.Event()
            await self._idle.wait()

    async def cut_off(self) -> None:
        """Cancel the statements in progress. Their callers get a ProjectionTransactionError."""
        cut = self._in_progress - self._cut
        self._cut |= cut
        for task in cut:
            task.cancel()
        await self.idle()

    async def _ask(self, method: str, sql: str, arguments: tuple[object, ...]) -> Any:
        ask, task = getattr(self._open_for(sql), method), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio's runs in one
        cancelling = task.cancelling()
        self._in_progress |= {task}
        try:
            return await ask(sql, *arguments)
        except asyncio.CancelledError:
            if task in self._cut and task.uncancel() <= cancelling:
                raise self._ended() from None
            raise
        finally:
            self._in_progress -= {task}
            if self._idle is not None:
                self._idle.set()

    def _open_for(self, sql: str) -> QueueingTransaction:
        if self._transaction is None:
            raise self._ended()
        if (command := transaction_command(sql)) is not None:
            refused = ProjectionTransactionError(
                f"{command} is refused, because only the service begins and ends the transaction: leave it out, and "
                "raise an error to undo what the handler wrote",
                self._stored.global_position,
                self._stored.event_id,
                self._stored.event_type,
            )
            self._transaction.error = refused  # even if the handler catches it
            raise refused
        return self._transaction

    def _ended(self) -> ProjectionTransactionError:
        return ProjectionTransactionError(
            "the handler has ended, and its transaction with it: await what the handler starts before it returns",
            self._stored.global_position,
            self._stored.event_id,
            self._stored.event_type,
        )

"""The transaction of a batch, lent to one call of a handler: it is dead once the handler has returned."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from perdure.errors import ProjectionTransactionError
from perdure.events import StoredEvent
from perdure.projections.engines.custom.transaction import QueueingTransaction
from perdure.projections.engines.custom.transaction_commands import transaction_command

_NOBODY: Final = frozenset[asyncio.Task[Any]]()
"""Shared by all, for one of these is made for each event."""


class LentTransaction:
    """A `ProjectionTransaction` for one call of a handler.

    Args:
        transaction: that of the batch.
        stored: the event that is handled; of several, the first.
    """

    __slots__ = ("_cut", "_idle", "_stored", "_transaction", "_under_way")

    def __init__(self, transaction: QueueingTransaction, stored: StoredEvent) -> None:
        self._transaction: QueueingTransaction | None = transaction
        self._stored = stored
        self._under_way = self._cut = _NOBODY
        self._idle: asyncio.Event | None = None

    def execute(self, sql: str, *arguments: object) -> None:
        """Queue a statement."""
        self._open_for(sql).execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """The rows of a query."""
        rows: list[Any] = await self._ask("fetch", sql, arguments)
        return rows

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """The first row of a query, or None."""
        return await self._ask("fetchrow", sql, arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """The first column of the first row of a query, or None."""
        return await self._ask("fetchval", sql, arguments)

    def take_back(self) -> bool:
        """Take no statement any more. Returns whether one is still under way, which somebody else has sent."""
        self._transaction = None
        return bool(self._under_way)

    async def idle(self) -> None:
        """Wait until no statement is under way."""
        while self._under_way:
            self._idle = asyncio.Event()
            await self._idle.wait()

    async def cut_off(self) -> None:
        """End what is under way: who waits for it gets an error."""
        cut = self._under_way - self._cut
        self._cut |= cut
        for task in cut:
            task.cancel()
        await self.idle()

    async def _ask(self, method: str, sql: str, arguments: tuple[object, ...]) -> Any:
        ask, task = getattr(self._open_for(sql), method), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio's runs in one
        cancelling = task.cancelling()
        self._under_way |= {task}
        try:
            return await ask(sql, *arguments)
        except asyncio.CancelledError:
            if task in self._cut and task.uncancel() <= cancelling:
                raise self._ended() from None
            raise
        finally:
            self._under_way -= {task}
            if self._idle is not None:
                self._idle.set()

    def _open_for(self, sql: str) -> QueueingTransaction:
        if self._transaction is None:
            raise self._ended()
        if (command := transaction_command(sql)) is not None:
            refused = ProjectionTransactionError(
                f"{command} is refused, because the service alone begins and ends the transaction: leave it out, and "
                "raise an error to undo what the handler wrote",
                self._stored.global_position,
                self._stored.event_id,
                self._stored.event_type,
            )
            self._transaction.error = refused  # also if the handler makes nothing of it
            raise refused
        return self._transaction

    def _ended(self) -> ProjectionTransactionError:
        return ProjectionTransactionError(
            "the handler has ended, and its transaction with it: await what the handler starts before it returns",
            self._stored.global_position,
            self._stored.event_id,
            self._stored.event_type,
        )

"""`TimerOperations`: operators list and cancel the timers of processes, even without the processes' code."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from perdure.checks import check_count, check_flag, check_text
from perdure.errors import InvalidArgumentError, ReadOnlyStoreError, UnknownTimerError
from perdure.projections.sql import statements
from perdure.projections.state.audit_log import AuditedOperations, actor
from perdure.projections.timers.records import TimerRecords
from perdure.store import EventStore


class ProcessTimer(msgspec.Struct, frozen=True, kw_only=True):
    """A timer that is set.

    Attributes:
        name: The name of the process.
        key: The key of its instance, as JSON.
        timer: The name of the timer.
        due_at: When it fires, by the clock of the database.
        is_due: Whether that time has come.
        set_by: The id of the event that set it.
        data: What the process gave it.
    """

    name: str
    key: str
    timer: str
    due_at: datetime
    is_due: bool
    set_by: UUID
    data: Any = None


class TimerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The timers of a process.

    Attributes:
        name: The name of the process.
        timers: How many are set.
        due: How many of them are due, and haven't fired yet.
        due_seconds: For how many seconds the first of these has been due; 0 if none is.
        next_due: When the first of all fires.
    """

    name: str
    timers: int
    due: int
    due_seconds: float
    next_due: datetime


class TimerOperations(AuditedOperations):
    """Lists and cancels the timers of processes.

    With a store that was opened with ``read_only=True``, `cancel` raises ReadOnlyStoreError.

    Args:
        store: the store.
        actor: the name for the log of events. By default the `user_id` of the context, or else the user of the system.

    Example:
        operations = TimerOperations(store)
        for timer in await operations.timers("trials", key='{"user_id":"123"}'):
            await operations.cancel(timer.name, timer.key, timer.timer, reason="the user has left")
    """

    def __init__(self, store: EventStore, *, actor: str | None = None) -> None:
        super().__init__(store, actor=actor)
        self._records = TimerRecords(self._database)
        self._statements = statements("timers", schema=self._database.quoted_schema)

    async def timers(
        self, name: str | None = None, *, key: str | None = None, due: bool | None = None, limit: int = 100
    ) -> list[ProcessTimer]:
        """Return the timers that are set, the next to fire first.

        Args:
            name: only those of this process.
            key: only those of the instance with this key, written as in `ProcessTimer`.
            due: only those that are due, or only those that aren't.
            limit: how many at most.
        """
        _check_filter(name=name, key=key)
        if due is not None:
            check_flag("due", due)
        check_count("limit", limit)
        rows = await self._database.fetch(self._statements["list"], name, key, due, limit)
        return [
            msgspec.convert({**row, "data": msgspec.json.decode(row["data"])}, ProcessTimer) for row in map(dict, rows)
        ]

    async def status(self, name: str | None = None) -> list[TimerStatus]:
        """Return how many timers each process has set, and which are due; or those of one process."""
        _check_filter(name=name)
        rows = await self._database.fetch(self._statements["status"], name)
        return [msgspec.convert(dict(row), TimerStatus) for row in rows]

    async def cancel(self, name: str, key: str, timer: str, reason: str) -> datetime:
        """Cancel a timer for good. The log gets an event that names the operator and the reason.

        Every build of the process takes that event, so a new version doesn't set the timer again.

        Args:
            name: the name of the process.
            key: the key of its instance, written as in `ProcessTimer`.
            timer: the name of the timer.
            reason: the reason.

        Returns:
            when it would have fired.

        Raises:
            InvalidArgumentError: the reason is empty.
            UnknownTimerError: the timer isn't set: it may have fired a moment ago.
        """
        for argument, text in (("name", name), ("key", key), ("timer", timer), ("reason", reason)):
            check_text(argument, text)
        if not reason.strip():
            raise InvalidArgumentError("reason", "say why the timer is cancelled, for the log")
        if self._store.is_read_only:
            raise ReadOnlyStoreError
        async with self._transaction() as connection:
            due_at = await self._records.cancel(
                connection, name, key, timer, actor=self._actor or actor(), reason=reason
            )
        if due_at is None:
            raise UnknownTimerError(name, key, timer)
        return due_at


def _check_filter(**texts: str | None) -> None:
    for argument, text in texts.items():
        if text is not None:
            check_text(argument, text)

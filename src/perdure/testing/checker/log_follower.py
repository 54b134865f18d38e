"""A follower of the log that records the events it receives, and resumes after the last one when restarted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from perdure.errors import PerdureError
from perdure.events import StoredEvent
from perdure.store import EventStore
from perdure.testing.checker.history import (
    EventSeen,
    FollowerFailed,
    FollowerStarted,
    HistoryFile,
    WorkloadEnded,
    records_in,
)


class LogFollower:
    """Follows the log of a store. Its history file is its checkpoint, from which it resumes after a kill.

    Args:
        store: the open store.
        folder: the folder of the history.
        name: the name of its file.
        category: follow only streams of this category.
    """

    def __init__(self, store: EventStore, folder: Path | str, name: str, *, category: str | None = None) -> None:
        self.position = 0
        self._store = store
        self._folder = folder
        self._name = name
        self.category = category
        self._moved = asyncio.Event()
        self._history: HistoryFile | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to follow, after the checkpoint if there is one."""
        self._task = asyncio.create_task(self._follow(), name=f"follower {self._name}")

    def note_end(self, position: int) -> None:
        """Record that this position is the last that it must receive, if it is still running."""
        if self._history is not None:
            self._history.write(WorkloadEnded(position))

    async def reach(self, position: int, timeout: float) -> bool:
        """Wait until it has received the event at a position. Return False if it hasn't in time."""
        assert self._task is not None  # noqa: S101 - it was started
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.position < position and not self._task.done():
                    self._moved.clear()
                    waiting = asyncio.create_task(self._moved.wait())
                    await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
        return self.position >= position

    async def stop(self) -> None:
        """Stop following."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _follow(self) -> None:
        with HistoryFile(self._folder, self._name) as history:
            last = None
            for record in records_in(history.path):
                last = record if isinstance(record, EventSeen) else last
            self.position = last.global_position if last else 0
            history.write(FollowerStarted(self.category, self.position))
            self._history = history
            try:
                async for stored in self.events(self.position, last.event_id if last else None):
                    history.write(EventSeen(stored.global_position, stored.event_id))
                    self.position = stored.global_position
                    self._moved.set()
            except Exception as error:  # noqa: BLE001 - the check reports that it ended
                history.write(FollowerFailed(type(error).__name__, isinstance(error, PerdureError), str(error)))
            finally:
                self._history = None

    def events(self, from_position: int, from_event_id: UUID | None) -> AsyncIterator[StoredEvent]:
        """Return the events to follow, from a subscription of the store."""
        return self._store.subscribe(from_position, from_event_id=from_event_id, category=self.category)

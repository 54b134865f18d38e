"""A follower that writes down what it is given, and goes on from there in its next life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from perdure.errors import PerdureError
from perdure.events import StoredEvent
from perdure.store import EventStore
from perdure.testing.checker.history import Ended, Followed, HistoryFile, Seen, Stopped, records_in


class LogFollower:
    """Follows the log of a store. Its file is its checkpoint: one that was killed goes on where its file ends.

    Args:
        store: the open store.
        folder: where the history is kept.
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
        """Begin, or begin again after the checkpoint."""
        self._task = asyncio.create_task(self._follow(), name=f"follower {self._name}")

    def note_end(self, position: int) -> None:
        """Write down that the event at this position is the last that it must be given, if it still follows."""
        if self._history is not None:
            self._history.write(Ended(position))

    async def reach(self, position: int, timeout: float) -> bool:
        """Wait until it has seen the event at this position. Returns whether it has, in time."""
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
        """End it."""
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
                last = record if isinstance(record, Seen) else last
            self.position = last.global_position if last else 0
            history.write(Followed(self.category, self.position))
            self._history = history
            try:
                async for stored in self.events(self.position, last.event_id if last else None):
                    history.write(Seen(stored.global_position, stored.event_id))
                    self.position = stored.global_position
                    self._moved.set()
            except Exception as error:  # noqa: BLE001 - that it ended is told by the check
                history.write(Stopped(type(error).__name__, isinstance(error, PerdureError), str(error)))
            finally:
                self._history = None

    def events(self, from_position: int, from_event_id: UUID | None) -> AsyncIterator[StoredEvent]:
        """The events to follow: those of the store's subscription."""
        return self._store.subscribe(from_position, from_event_id=from_event_id, category=self.category)

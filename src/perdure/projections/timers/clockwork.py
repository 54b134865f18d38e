"""Fires the timers of processes in the background."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from perdure.errors import PerdureError
from perdure.observation import TimersDue, TimersFired, observer, report_fact
from perdure.outage import Outage
from perdure.projections.timers.records import Firing, TimerRecords
from perdure.retry import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.timers")

MOST_AT_ONCE: Final = 250
"""How many timers a transaction fires. More would make appends wait for it."""
_LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks: timers that a process has set that has died since are found by then."""
_SHORTEST_PAUSE: Final = 0.001
_PAUSE_AT_LOCKS: Final = 0.02
"""Seconds until the next look while another process fires what is due, or its streams are locked."""
_REPORT_INTERVAL: Final = 5.0
"""Seconds between two counts of the timers that are due, for metrics."""
_MOST_COUNTED: Final = 10_000
_OPERATION: Final = "fire_timers"
_BACK_OFF: Final = RetryConfig(base_delay=0.1, max_delay=5.0)


class Clockwork:
    """Fires the timers of all processes of a store when they are due, by the clock of the database.

    Several may run at once, here and elsewhere: each timer fires once. A clockwork sleeps until the next timer is due,
    a second at most. Timers that were due while none ran fire at once, those that were due first before others.

    Args:
        store: the store.
        tasks: the owner of the background task.

    Example:
        clockwork = Clockwork(store, tasks)
        clockwork.start()
        ...
        clockwork.expect(due_at)  # a batch of this process has set a timer
        ...
        await clockwork.stop()
    """

    def __init__(self, store: EventStore, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._records = TimerRecords(database_of(store))
        self._outage = Outage(logger, "firing timers")
        self._bell = asyncio.Event()
        self._asleep_until: datetime | None = None
        """When the next look is planned, by the clock of the database; None while a look is under way."""
        self._task: asyncio.Task[None] | None = None
        self._errors = 0
        self._next_report = 0.0

    def start(self) -> None:
        """Begin to fire timers."""
        self._task = self._tasks.keep(self._run, "perdure timers", operation=_OPERATION)

    async def stop(self) -> None:
        """Stop. What is being fired is fired entirely, or later."""
        if self._task is not None:
            await self._tasks.stop(self._task)

    def expect(self, due_at: datetime) -> None:
        """Look in time for a timer that a transaction of this process has set. Call it after the commit."""
        if self._asleep_until is None or due_at < self._asleep_until:
            self._bell.set()

    async def _run(self) -> None:
        while True:
            await self._report()
            self._bell.clear()
            self._asleep_until = None
            try:
                pause = await self._look()
            except PerdureError as error:
                if not error.is_transient:
                    raise  # shown by `health`, and tried again after a pause
                pause = self._back_off(error)
            else:
                self._errors = 0
                self._outage.succeeded(self, operation=_OPERATION)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), pause)

    async def _look(self) -> float:
        """Fire what is due. Return the seconds until the next look."""
        found = await self._records.fire(MOST_AT_ONCE)
        if found.fired:
            self._store.wake()
        if found.due_since is not None:
            report_fact(TimersFired(found.fired, (found.looked_at - found.due_since).total_seconds()))
        pause = _pause_after(found)
        self._asleep_until = found.looked_at + timedelta(seconds=pause)
        return pause

    def _back_off(self, error: PerdureError) -> float:
        self._errors += 1
        pause = _BACK_OFF.delay(self._errors)
        self._outage.failed(self, error, operation=_OPERATION, pause=pause)
        return pause

    async def _report(self) -> None:
        """Count what is due for the observer, every few seconds. While nothing can be fired, that grows."""
        now = asyncio.get_running_loop().time()
        if observer() is None or now < self._next_report:
            return
        self._next_report = now + _REPORT_INTERVAL
        with suppress(PerdureError):  # firing fails, too, and says why
            report_fact(TimersDue(*await self._records.due(_MOST_COUNTED)))


def _pause_after(found: Firing) -> float:
    if found.next_due is None:
        return _LONGEST_PAUSE
    seconds = (found.next_due - found.looked_at).total_seconds()
    if seconds > 0:
        return min(max(seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)
    return 0.0 if found.fired else _PAUSE_AT_LOCKS

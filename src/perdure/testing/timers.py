"""Timers of processes in tests on a database: time goes by at once."""

from __future__ import annotations

from datetime import timedelta

from perdure.checks import check_instance, check_text
from perdure.errors import InvalidArgumentError
from perdure.projections.timers.clockwork import MOST_AT_ONCE
from perdure.projections.timers.records import TimerRecords
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of


async def advance_timers(store: EventStore, by: timedelta, process: str | None = None) -> int:
    """Let timers be due earlier, as if time had gone by, and fire those that are due by now.

    When this returns, their events are in the log, in the streams of category ``process``. Timers that these events
    set are new: they count from now on. Never use it on a database that matters: timers fire too early.

    Args:
        store: the store, with a database of the test's own.
        by: how much time goes by.
        process: only the timers of this process.

    Returns:
        how many timers have fired. Those that a service has fired meanwhile aren't counted.

    Raises:
        InvalidArgumentError: `by` is negative, or isn't a timedelta.
        UnsupportedOperationError: the store has no database.

    Example:
        await app.wait_for("trials", saved)
        assert await advance_timers(app.store, timedelta(days=7)) == 1
    """
    check_instance("store", store, EventStore)
    check_instance("by", by, timedelta)
    if by < timedelta():
        raise InvalidArgumentError("by", "is negative, but time goes forward")
    if process is not None:
        check_text("process", process)
    records = TimerRecords(database_of(store))
    await records.advance(by, process)
    fired = 0
    while (found := await records.fire(MOST_AT_ONCE)).fired:
        fired += found.fired
    store.wake()
    return fired

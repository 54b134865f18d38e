"""Whatever is told of, done once."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from perdure.context import context
from perdure.errors import DomainError, OptimisticConcurrencyError
from perdure.events import StoredEvent
from perdure.observation import (
    Deliver,
    EventsParked,
    ProjectionBatch,
    ProjectionFailed,
    ProjectionProgress,
    TimersDue,
    TimersFired,
    report_fact,
)
from perdure.repository import Repository
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.telemetry.counting import Counted, Counter


def stored_event() -> StoredEvent:
    return StoredEvent("counter-1", 1, 1, uuid4(), "telemetry.counted", 1, "{}", "{}", datetime.now(UTC))


async def do_everything(store: PostgreSQLEventStore) -> None:
    """Whatever a metric tells of, once."""
    counters = Repository(Counter, store, snapshot_every=1, cache_size=1)
    with context(correlation_id="req-1", causation_id="cmd-2"):
        await counters.execute("1", Counter.count)
        await store.append_to_streams([("a-1", 0, [Counted()]), ("b-1", 0, [Counted()])])
        with pytest.raises(DomainError):
            await counters.execute("1", lambda counter: counter.count(-1), exclusive=True)
    with pytest.raises(OptimisticConcurrencyError):
        await store.append_to_stream("counter-1", 9, [Counted()])
    with ProjectionBatch("counts", 1, 1, await store.read_all_events()) as batch:
        batch.done = 1
    with pytest.raises(ValueError, match="x"), Deliver(reaction="counts", events=await store.read_all_events()):
        raise ValueError("x")
    report_fact(ProjectionFailed("counts", 1, 1, stored_event(), ValueError("x")))
    report_fact(EventsParked("counts", 1, 1, 2))
    report_fact(ProjectionProgress("counts", 1, 1, running=True, lag=4, lag_seconds=0.5, parked=1))
    report_fact(TimersFired(2, 0.01))
    report_fact(TimersDue(3, 0.5))

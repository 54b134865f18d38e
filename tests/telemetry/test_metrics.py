from collections.abc import Callable

import pytest

from perdure import telemetry
from perdure.errors import DomainError
from perdure.observation import (
    EventsParked,
    Fact,
    ProjectionFailed,
    ProjectionProgress,
    TimersDue,
    TimersFired,
    observer,
    report_fact,
)
from perdure.repository import Repository, RetryConfig
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.telemetry import metrics
from perdure.telemetry.names import METRICS
from tests.telemetry.conftest import Exported
from tests.telemetry.counting import Counted, Counter, RivalledStore
from tests.telemetry.doing import do_everything, stored_event


async def test_every_metric_is_told_with_the_attributes_that_it_is_said_to_have(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    await do_everything(store)

    told = {name: {key for point in points for key in point.attributes} for name, points in exported.points().items()}
    known = {name: set(metric.attributes) - {"error.type"} for name, metric in METRICS.items()}
    assert told.keys() == known.keys()
    assert {name: keys - {"error.type"} for name, keys in told.items()} == known
    assert {name for name, keys in told.items() if "error.type" in keys} <= {
        name for name, metric in METRICS.items() if "error.type" in metric.attributes
    }


async def test_metrics_never_name_a_stream(exported: Exported, store: PostgreSQLEventStore) -> None:
    await do_everything(store)

    values = {value for points in exported.points().values() for point in points for value in point.attributes.values()}
    assert "counter" in values
    assert not {value for value in values if "-" in str(value)}


async def test_appends_and_their_events_are_counted_by_category(exported: Exported) -> None:
    store = InMemoryEventStore()
    await store.append_to_stream("a-1", 0, [Counted(), Counted()])
    await store.append_to_stream("a-2", 0, [Counted()])
    await store.append_to_streams([("a-3", 0, [Counted()]), ("b-1", 0, [Counted()])])

    assert exported.values("perdure.append.events") == {("a",): 4, ("b",): 1}
    counts = {
        tuple(sorted(point.attributes.items())): point.count for point in exported.points()["perdure.append.duration"]
    }
    assert counts == {
        (("perdure.category", "a"), ("perdure.operation", "append")): 2,
        (("perdure.operation", "append_to_streams"),): 1,
    }


async def test_a_conflict_that_was_retried_is_counted(exported: Exported) -> None:
    await Repository(Counter, RivalledStore(), retry=RetryConfig(base_delay=0)).execute("1", Counter.count)

    assert exported.values("perdure.append.conflicts") == {("counter",): 1}
    assert exported.values("perdure.execute.retries") == {("counter",): 1}
    assert exported.values("perdure.errors") == {("OptimisticConcurrencyError", "append"): 1}


async def test_a_rule_that_refuses_counts_as_no_error(exported: Exported) -> None:
    with pytest.raises(DomainError):
        await Repository(Counter, InMemoryEventStore()).execute("1", lambda counter: counter.count(-1))

    assert "perdure.errors" not in exported.points()


async def test_cached_states_are_counted_as_hits_and_misses(exported: Exported) -> None:
    counters = Repository(Counter, InMemoryEventStore(), cache_size=1)
    exported.points()
    before = exported.values("perdure.load.cache")
    await counters.execute("1", Counter.count)

    await counters.load("1")
    await counters.load("1")

    found = exported.values("perdure.load.cache")
    assert found["miss", "counter"] == before.get(("miss", "counter"), 0) + 2  # new, and the first with an event
    assert found["hit", "counter"] == before.get(("hit", "counter"), 0) + 1


async def test_snapshots_are_counted_as_hits_and_misses(exported: Exported) -> None:
    counters = Repository(Counter, InMemoryEventStore(), snapshot_every=1)
    await counters.load("1")
    await counters.execute("1", Counter.count)
    exported.points()
    before = exported.values("perdure.load.snapshots")

    await counters.load("1")

    assert exported.values("perdure.load.snapshots")["counter", "hit"] == before.get(("counter", "hit"), 0) + 1


@pytest.mark.parametrize(
    ("fact", "name"),
    [
        (lambda: ProjectionFailed("counts", 2, 1, stored_event(), ValueError("x")), "perdure.projection.failures"),
        (lambda: EventsParked("counts", 2, 1, 1), "perdure.projection.parkings"),
    ],
)
async def test_what_a_projection_fails_at_is_counted(exported: Exported, fact: Callable[[], Fact], name: str) -> None:
    report_fact(fact())
    report_fact(fact())

    assert list(exported.values(name).values()) == [2]


async def test_the_standing_of_a_projection_is_shown_until_it_is_old(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_fact(ProjectionProgress("counts", 1, 1, running=True, lag=4, lag_seconds=0.5, parked=0))
    report_fact(ProjectionProgress("counts", 2, 1, running=False, lag=9, lag_seconds=7, parked=3))

    assert exported.values("perdure.projection.lag") == {("counts", 1, 1): 4, ("counts", 1, 2): 9}
    assert exported.values("perdure.projection.lag_seconds") == {("counts", 1, 1): 0.5, ("counts", 1, 2): 7}
    assert exported.values("perdure.projection.parked") == {("counts", 1, 1): 0, ("counts", 1, 2): 3}
    assert exported.values("perdure.projection.running") == {("counts", 1, 1): 1, ("counts", 1, 2): 0}

    monkeypatch.setattr(metrics, "FRESH", -1.0)
    assert exported.values("perdure.projection.lag") == {}


async def test_timers_that_fired_are_counted_and_those_that_are_due_are_shown_until_that_is_old(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fact in (TimersFired(2, 0.5), TimersFired(3, 0.1), TimersDue(7, 1.5), TimersDue(4, 2.5)):
        report_fact(fact)

    assert exported.values("perdure.timer.fired") == {(): 5}
    assert exported.values("perdure.timer.due") == {(): 4}
    assert exported.values("perdure.timer.due_seconds") == {(): 2.5}
    monkeypatch.setattr(metrics, "FRESH", -1.0)
    assert exported.values("perdure.timer.due") == {}


async def test_instrumenting_twice_tells_nothing_twice(exported: Exported, caplog: pytest.LogCaptureFixture) -> None:
    exported.instrument()

    await InMemoryEventStore().append_to_stream("a-1", 0, [Counted()])

    assert exported.values("perdure.append.events") == {("a",): 1}
    assert len(exported.spans()) == 1
    assert caplog.records == []


async def test_nothing_is_told_after_uninstrumenting(exported: Exported) -> None:
    telemetry.uninstrument()

    await InMemoryEventStore().append_to_stream("a-1", 0, [Counted()])

    assert observer() is None
    assert exported.spans() == []

"""What an observer is told, and that it never stands in the way."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from perdure.aggregate import AggregateRoot, command
from perdure.commit import AppendResult, Commit
from perdure.errors import DomainError, OptimisticConcurrencyError, StoreUnavailableError
from perdure.events import NewEvent, event, handles
from perdure.observation import (
    Append,
    AppendBatch,
    AppendToStreams,
    EventsParked,
    Execute,
    Load,
    Observer,
    ProjectionProgress,
    observe,
    observer,
    report_fact,
)
from perdure.projections.runtime.reporter import report_status
from perdure.projections.state.status import ProjectionStatus
from perdure.repository import Repository, RetryConfig, execute_all
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.transaction import Transaction
from tests.observing import Recorder, observed


@event("observed.counted")
class Counted:
    by: int = 1


class Counter(AggregateRoot, category="counter"):
    total: int = 0

    @command
    def count(self, by: int = 1) -> None:
        self.raise_event(Counted(by=by))

    @handles
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class RivalledStore(InMemoryEventStore):
    """Lets somebody else append first, once."""

    rival = True

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        if self.rival:
            self.rival = False
            await super().append(self.encode(commit.stream_id, 0, [Counted()]))
        return await super().append(commit, tx)


STATUS = ProjectionStatus(
    name="counts", version=2, build=3, state="running", global_position=5, lag=3, lag_seconds=0.5, failed=1, waiting=2
)


def executed(recorder: Recorder) -> list[tuple[str | None, int]]:
    return [(one.stream_id, one.attempts) for one in recorder.operations if isinstance(one, Execute)]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    with observed(recorder):
        yield recorder


async def test_an_append_is_told_with_where_it_stands(recorder: Recorder) -> None:
    store = InMemoryEventStore()

    await store.append_to_stream("counter-1", 0, [Counted(), Counted()])

    [append] = recorder.operations
    assert isinstance(append, Append)
    assert (append.store, append.stream_id) == (store, "counter-1")
    assert (append.events, append.stream_version, append.global_position) == (2, 2, 2)


async def test_an_append_that_fails_is_told_with_its_error(recorder: Recorder) -> None:
    with pytest.raises(OptimisticConcurrencyError) as raised:
        await InMemoryEventStore().append_to_stream("counter-1", 7, [Counted()])

    [(append, error)] = recorder.ended_operations
    assert isinstance(append, Append)
    assert error is raised.value


async def test_an_append_to_several_streams_is_told_with_the_events_of_each(recorder: Recorder) -> None:
    await InMemoryEventStore().append_to_streams([("a-1", 0, [Counted()]), ("b-1", 0, [Counted(), Counted()])])

    [append] = recorder.operations
    assert isinstance(append, AppendToStreams)
    assert (append.events, append.global_position) == ({"a-1": 1, "b-1": 2}, 3)


async def test_a_load_tells_how_many_events_it_took_and_whether_a_snapshot_helped(recorder: Recorder) -> None:
    store = InMemoryEventStore()
    counters = Repository(Counter, store, snapshot_every=3)
    for _ in range(4):
        await counters.execute("1", Counter.count)
    recorder.ended_operations.clear()

    await counters.load("1")
    await counters.load("none")
    await Repository(Counter, store).load("1")

    loads = [operation for operation in recorder.operations if isinstance(operation, Load)]
    assert [(load.stream_id, load.events, load.snapshot) for load in loads] == [
        ("counter-1", 1, "hit"),
        ("counter-none", 0, "miss"),
        ("counter-1", 4, None),
    ]


async def test_executing_tells_how_many_attempts_it_took(recorder: Recorder) -> None:
    store = RivalledStore()
    counters = Repository(Counter, store, retry=RetryConfig(base_delay=0))

    await counters.execute("1", Counter.count)

    assert executed(recorder) == [("counter-1", 2)]


async def test_saving_with_retry_tells_how_many_attempts_it_took(recorder: Recorder) -> None:
    counters = Repository(Counter, RivalledStore(), retry=RetryConfig(base_delay=0))
    counter = await counters.load_or_new("1")
    counter.count()

    await counters.save_with_retry(counter)

    assert executed(recorder) == [("counter-1", 2)]


async def test_executing_several_names_no_stream(recorder: Recorder) -> None:
    async def decide() -> list[Counter]:
        counter = Counter("1")
        counter.count()
        return [counter]

    await execute_all(InMemoryEventStore(), decide)

    assert executed(recorder) == [(None, 1)]


async def test_a_rule_that_refuses_ends_the_execution_with_its_error(recorder: Recorder) -> None:
    def refuse(counter: Counter) -> None:
        raise DomainError("never")

    with pytest.raises(DomainError) as raised:
        await Repository(Counter, InMemoryEventStore()).execute("1", refuse)

    assert recorder.ended_operations[-1][1] is raised.value
    assert executed(recorder) == [("counter-1", 0)]


async def test_a_batch_of_appends_tells_its_size_and_what_is_left(
    recorder: Recorder, store: PostgreSQLEventStore
) -> None:
    await asyncio.gather(*(store.append_to_stream(f"counter-{i}", 0, [Counted(), Counted()]) for i in range(10)))

    batches = [fact for fact in recorder.facts if isinstance(fact, AppendBatch)]
    assert sum(batch.commits for batch in batches) == 10
    assert sum(batch.events for batch in batches) == 20
    assert (batches[-1].queued, batches[-1].repeated) == (0, 0)
    assert all(batch.seconds > 0 for batch in batches)


async def test_the_observers_headers_are_stored_beneath_those_of_the_event() -> None:
    class Traced(Observer):
        def headers(self) -> dict[str, str]:
            return {"traceparent": "00-1", "host": "a"}

    store = InMemoryEventStore()
    with observed(Traced()):
        await store.append_to_stream("counter-1", 0, [NewEvent(Counted(), headers={"host": "b"})])
    await store.append_to_stream("counter-1", 1, [Counted()])

    first, second = await store.read_stream("counter-1")
    assert first.metadata.headers == {"traceparent": "00-1", "host": "b"}
    assert second.metadata.headers == {}


@pytest.mark.parametrize("fails", ["began", "ended", "happened", "headers"])
async def test_an_observer_that_fails_is_logged_and_the_work_goes_on(
    fails: str, store: PostgreSQLEventStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        pass

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    setattr(Broken, fails, fail)
    with observed(Broken()):
        result = await store.append_to_stream("counter-1", 0, [Counted()])

    assert result.stream_version == 1
    records = [record for record in caplog.records if record.name == "perdure.observation"]
    assert [(record.levelno, record.exc_info is not None) for record in records] == [(logging.ERROR, True)]


async def test_an_operation_that_began_unobserved_ends_unobserved() -> None:
    recorder = Recorder()

    with Append(None, "counter-1"):
        observe(recorder)
    observe(None)

    assert recorder.operations == []


async def test_an_operation_ends_with_the_observer_that_saw_it_begin() -> None:
    recorder = Recorder()
    observe(recorder)

    with Append(None, "counter-1"):
        observe(None)

    assert len(recorder.operations) == 1


def test_nobody_observes_unless_asked_to() -> None:
    assert observer() is None
    report_fact(EventsParked("counts", 1, 1, 1))


async def test_the_standing_of_projections_is_told_again_and_again(recorder: Recorder) -> None:
    looks = 0
    seen = asyncio.Event()

    async def look() -> list[ProjectionStatus]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise StoreUnavailableError("the database is down")
        if looks == 4:
            seen.set()
        return [STATUS]

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(report_status(look, interval=0))
        await seen.wait()
        task.cancel()

    told = [fact for fact in recorder.facts if isinstance(fact, ProjectionProgress)]
    assert len(told) >= 2
    for one in told:
        assert (one.projection, one.projection_version, one.projection_build) == ("counts", 2, 3)
        assert (one.running, one.lag, one.lag_seconds, one.parked) == (True, 3, 0.5, 3)


async def test_the_standing_of_projections_is_not_asked_for_when_nobody_observes() -> None:
    turns = 0

    async def look() -> list[ProjectionStatus]:
        raise AssertionError

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(report_status(look, interval=0))
        while turns < 10:
            turns += 1
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

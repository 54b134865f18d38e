import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from perdure.commit import AppendResult, Commit
from perdure.context import context
from perdure.errors import DomainError, InvalidStreamIdError, OptimisticConcurrencyError
from perdure.events import NewEvent, StoredEvent
from perdure.observation import ProjectionBatch
from perdure.projections.inline_store import InlineProjections
from perdure.repository import Repository, RetryConfig
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.transaction import Transaction
from tests.telemetry.conftest import Exported
from tests.telemetry.counting import Counted, Counter, RivalledStore


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def take(events: Sequence[StoredEvent], done: int | None = None) -> None:
    with ProjectionBatch("counts", 2, 1, events) as batch:
        batch.done = len(events) if done is None else done


async def test_an_append_is_a_span(exported: Exported, store: PostgreSQLEventStore) -> None:
    with context(correlation_id="req-1", causation_id="cmd-2"):
        await store.append_to_stream("counter-1", 0, [Counted(), Counted()])

    span = exported.span("append counter")
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "db.system.name": "postgresql",
        "db.namespace": f"{store.database.name}|perdure",
        "db.operation.name": "append",
        "perdure.operation": "append",
        "perdure.category": "counter",
        "perdure.stream_id": "counter-1",
        "perdure.correlation_id": "req-1",
        "perdure.causation_id": "cmd-2",
        "perdure.events": 2,
        "perdure.stream_version": 2,
        "perdure.global_position": 2,
    }


async def test_a_store_with_inline_projections_names_its_database(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    async with InlineProjections(store, []) as inline:
        await inline.append_to_stream("counter-1", 0, [Counted()])

    attributes = exported.attributes("append counter")
    assert (attributes["db.system.name"], attributes["db.namespace"]) == (
        "postgresql",
        f"{store.database.name}|perdure",
    )


async def test_appends_that_share_a_commit_are_spans_of_their_own_callers(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    tracer = exported.tracer_provider.get_tracer("callers")

    async def append(number: int) -> None:
        with tracer.start_as_current_span(f"caller {number}"):
            await store.append_to_stream(f"counter-{number}", 0, [Counted()])

    await asyncio.gather(*map(append, range(8)))

    callers = {id_of(span): span.name for span in exported.spans() if span.name.startswith("caller")}
    made = {
        ((span.attributes or {})["perdure.stream_id"], callers[parent_of(span)])
        for span in exported.spans("append counter")
    }
    assert made == {(f"counter-{number}", f"caller {number}") for number in range(8)}


async def test_an_append_to_several_streams_is_a_span(exported: Exported, store: PostgreSQLEventStore) -> None:
    await store.append_to_streams([("a-1", 0, [Counted()]), ("b-1", 0, [Counted(), Counted()])])

    attributes = exported.attributes("append_to_streams")
    assert (attributes["perdure.streams"], attributes["perdure.events"], attributes["perdure.global_position"]) == (
        2,
        3,
        3,
    )


async def test_a_conflict_is_an_error_of_the_append_without_its_text(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    with pytest.raises(OptimisticConcurrencyError):
        await store.append_to_stream("counter-1", 5, [Counted()])

    span = exported.span("append counter")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.events == ()
    assert exported.attributes("append counter")["error.type"] == "OptimisticConcurrencyError"


@pytest.mark.parametrize("stream_id", ["nothing", "", "a\x00-1", 7, None])
async def test_what_is_no_stream_names_no_span(exported: Exported, stream_id: object) -> None:
    with pytest.raises(InvalidStreamIdError):
        await InMemoryEventStore().append_to_stream(stream_id, 0, [Counted()])  # type: ignore[arg-type]  # the point

    assert "perdure.stream_id" not in exported.attributes("append")


async def test_executing_is_a_span_around_all_attempts(exported: Exported) -> None:
    counters = Repository(Counter, RivalledStore(), retry=RetryConfig(base_delay=0))

    await counters.execute("1", Counter.count)

    execute = exported.span("execute counter")
    assert exported.attributes("execute counter")["perdure.attempts"] == 2
    assert execute.kind is SpanKind.INTERNAL
    inner = [span for span in exported.spans() if span is not execute]
    assert [span.name for span in inner] == ["load counter", "append counter", "load counter", "append counter"]
    assert {parent_of(span) for span in inner} == {id_of(execute)}


async def test_a_load_tells_whether_the_state_was_cached(exported: Exported) -> None:
    counters = Repository(Counter, InMemoryEventStore(), snapshot_every=9, cache_size=1)
    await counters.execute("1", Counter.count)
    await counters.load("1")
    exported.exporter.clear()

    await counters.load("1")

    attributes = exported.attributes("load counter")
    assert (attributes["perdure.events"], attributes["perdure.cache"]) == (0, "hit")
    assert "perdure.snapshot" not in attributes


async def test_a_load_tells_its_events_and_its_snapshot(exported: Exported) -> None:
    store = InMemoryEventStore()
    counters = Repository(Counter, store, snapshot_every=2)
    for _ in range(3):
        await counters.execute("1", Counter.count)
    exported.exporter.clear()

    await counters.load("1")

    attributes = exported.attributes("load counter")
    assert (attributes["perdure.events"], attributes["perdure.snapshot"]) == (1, "hit")


async def test_a_rule_that_refuses_is_no_error(exported: Exported) -> None:
    with pytest.raises(DomainError):
        await Repository(Counter, InMemoryEventStore()).execute("1", lambda counter: counter.count(-1))

    span = exported.span("execute counter")
    assert span.status.status_code is StatusCode.UNSET
    attributes = exported.attributes("execute counter")
    assert attributes["perdure.refusal"] == "DomainError"
    assert "error.type" not in attributes


async def test_a_batch_of_a_projection_is_a_trace_of_its_own(exported: Exported) -> None:
    store = InMemoryEventStore()
    await store.append_to_stream("counter-1", 0, [Counted(), Counted(), Counted()])

    with exported.tracer_provider.get_tracer("start").start_as_current_span("start of the service"):
        take(await store.read_all_events(), done=2)

    span = exported.span("projection_batch counts")
    assert span.parent is None
    assert span.kind is SpanKind.CONSUMER
    assert dict(span.attributes or {}) == {
        "messaging.system": "perdure",
        "messaging.operation.type": "process",
        "messaging.operation.name": "projection_batch",
        "messaging.consumer.group.name": "counts",
        "messaging.batch.message_count": 3,
        "perdure.operation": "projection_batch",
        "perdure.projection": "counts",
        "perdure.projection_version": 2,
        "perdure.projection_build": 1,
        "perdure.events": 2,
        "perdure.global_position": 2,
    }


async def test_a_batch_links_to_the_appends_when_events_bear_their_trace(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    exported.instrument(traceparent=True)
    await store.append_to_stream("counter-1", 0, [Counted(), Counted()])
    await store.append_to_stream("counter-2", 0, [Counted()])

    take(await store.read_all_events())

    appends = [id_of(span) for span in exported.spans("append counter")]
    assert [link.context.span_id for link in exported.span("projection_batch counts").links] == appends


class YieldingStore(InMemoryEventStore):
    """Lets other tasks run before each append, as a database does."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        await asyncio.sleep(0)
        return await super().append(commit, tx)


async def test_events_of_commands_that_share_a_commit_queueing_bear_the_trace_of_their_own_command(
    exported: Exported,
) -> None:
    exported.instrument(traceparent=True)
    store = YieldingStore()
    counters = Repository(Counter, store)
    await asyncio.gather(*[counters.execute("1", lambda counter: counter.count()) for _ in range(4)])

    take(await store.read_all_events())

    alone, *queued = [id_of(span) for span in exported.spans("execute counter")]
    direct, shared = exported.spans("append counter")
    assert parent_of(direct) == alone
    assert direct.links == ()
    events = [link.context.span_id for link in exported.span("projection_batch counts").links]
    assert events == [id_of(direct), *queued]
    assert parent_of(shared) == queued[0]
    assert [link.context.span_id for link in shared.links] == queued[1:]
    assert dict(shared.attributes or {})["perdure.events"] == 3
    assert [dict(span.attributes or {})["perdure.attempts"] for span in exported.spans("execute counter")] == [1] * 4


async def test_events_bear_no_trace_unless_asked_to(exported: Exported, store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("counter-1", 0, [Counted()])

    [stored] = await store.read_all_events()
    assert stored.metadata.headers == {}


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_trace_that_is_none_is_left_alone(exported: Exported, traceparent: str) -> None:
    store = InMemoryEventStore()
    await store.append_to_stream("counter-1", 0, [NewEvent(Counted(), headers={"traceparent": traceparent})])

    take(await store.read_all_events())

    assert exported.span("projection_batch counts").links == ()


async def test_nothing_of_the_payload_comes_into_a_span(exported: Exported, store: PostgreSQLEventStore) -> None:
    secret = "hunter2"
    counters = Repository(Counter, store)
    with context(user_id=secret, headers={"authorization": secret}):
        await counters.execute("1", lambda counter: counter.count(1, secret))
        with pytest.raises(DomainError):
            await counters.execute("1", lambda counter: counter.count(-1, secret))
        take(await store.read_all_events())

    assert len(exported.spans()) == 6
    assert not [span.to_json() for span in exported.spans() if secret in span.to_json()]

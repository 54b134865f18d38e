"""Events that are parked: put aside for the rows that they can't reach, tried again when somebody asks."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from random import Random
from string import ascii_letters
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from perdure.commit import ANY
from perdure.errors import (
    DatabaseError,
    EventDecodingError,
    LogDivergedError,
    UnknownEventTypeError,
    UnknownEventVersionError,
)
from perdure.events import StoredEvent, event, handles, registry, upcast
from perdure.projection import ChildRows, TableProjection, child_table
from perdure.projections.engines.table.definition import Definition
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.failures import EventFailure, TooManyParkedError, kind_of
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved, Page, Pages, Total, Visited, Visitor
from tests.projections.parking_lot import (
    FAILED,
    SKIPPED,
    WAITING,
    Guarded,
    Pausing,
    everything_parked,
    guarded,
    page,
    parked,
    paused,
    rows_of,
    runner_of,
    until,
    until_parked,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


# --- What is kept of a failure ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("a rule"), "handler"),
        (EventDecodingError("t", "x-1", 1, "bad", "mend it"), "decoding"),
        (UnknownEventVersionError("t", "x-1", 1, 2, 1), "decoding"),
        (UnknownEventTypeError("t", "x-1", 1), "unknown_type"),
        (DatabaseError("refused", "23514"), "database"),
        (TimeoutError(), "timeout"),
        (TooManyParkedError(1, None, ("a",), None), "too_many_parked"),  # type: ignore[arg-type]  # which event doesn't matter
    ],
)
def test_each_failure_is_of_a_kind(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


async def test_a_parked_event_is_kept_with_its_error_and_attempts(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), visit("a")])
        await service.wait_for("guarded", saved, timeout=30)
        (status,) = await service.status()
    failed, waiting = await everything_parked(store)

    assert (status.state, status.lag, status.failed, status.waiting, status.skipped) == ("running", 0, 1, 1, 0)
    assert (failed.name, failed.version, failed.build, failed.key) == ("guarded", 1, 1, page("a"))
    assert (failed.global_position, failed.event_type) == (2, "test.projections.broken")
    stored = (await store.read_stream("x-1"))[1]
    assert (failed.stream_id, failed.stream_version, failed.event_id) == ("x-1", 2, stored.event_id)
    assert (failed.state, failed.attempts, failed.is_retry_requested) == (FAILED, 2, False)
    failure = failed.failure
    assert failure is not None
    assert (failure.kind, failure.error_type, failure.message) == ("handler", "RuntimeError", "a is bad")
    assert (failure.attempts, failure.global_position, failure.keys) == (2, 2, (page("a"),))
    assert "in _check" in failure.traceback
    assert (waiting.state, waiting.global_position, waiting.failure, waiting.attempts) == (WAITING, 3, None, 0)


async def test_a_huge_message_is_cut(store: PostgreSQLEventStore) -> None:
    class Wordy(Guarded, table="wordy", key="page", on_failure="park"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            raise ValueError("begin" + "x" * 10**6 + "end")

    async with guarded(store, Wordy()) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
        await service.wait_for("wordy", saved, timeout=30)
    (failed,) = await everything_parked(store)

    assert failed.failure is not None
    assert failed.failure.message.startswith("begin")
    assert failed.failure.message.endswith("end")
    assert len(failed.failure.message) < 30_000
    assert failed.failure.traceback.endswith("end\n")


# --- Later events of the key wait, others go on -----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 500])
async def test_later_events_of_the_key_wait_in_order_and_all_others_go_on(
    store: PostgreSQLEventStore, database_url: str, batch_size: int
) -> None:
    projection = Guarded("a")
    async with guarded(store, projection, batch_size=batch_size) as service:
        events = [visit("a"), Broken(page="a"), visit("b"), visit("a"), Broken(page="b"), Broken(page="a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await service.wait_for("guarded", saved, timeout=30)

        expected = [(2, page("a"), FAILED), (4, page("a"), WAITING), (6, page("a"), WAITING)]
        assert await parked(store) == expected
        assert await check_against_fold(store, database_url, Guarded()) == 6
        assert projection.tried == ["a", "a", "b"]
        _, tables = await tables_in(database_url, Guarded())
        assert (tables["guarded"]["a"].visits, tables["guarded"]["b"].path) == (1, ["broken"])


async def test_later_events_wait_over_a_restart(store: PostgreSQLEventStore, database_url: str) -> None:
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a")])
        await service.wait_for("guarded", saved, timeout=30)
    async with guarded(store, Guarded()) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b")])
        await service.wait_for("guarded", saved, timeout=30)

    assert await parked(store) == [(2, page("a"), FAILED), (3, page("a"), WAITING)]
    await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 8])
async def test_an_event_over_two_keys_is_parked_for_the_one_it_fails_for(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    async with guarded(store, Guarded("a"), segments=segments) as service:
        events = [visit("a"), visit("b"), Moved(source="a", target="b"), Moved(source="b", target="a"), visit("b")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await service.wait_for("guarded", saved, timeout=30)

        assert await parked(store) == [(3, page("a"), FAILED), (4, page("a"), WAITING)]
        _, tables = await tables_in(database_url, Guarded())
        assert rows_of(tables) == {"a": [], "b": ["a>b", "b>a"]}
        await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 8])
async def test_an_event_that_fails_for_both_of_its_keys_is_parked_for_both(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    projection = Guarded("a", "b")
    async with guarded(store, projection, segments=segments) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), Moved(source="a", target="b")])
        await service.wait_for("guarded", saved, timeout=30)
        assert sorted(projection.tried) == ["a", "a", "b", "b"]
        assert await parked(store) == [(3, page("a"), FAILED), (3, page("b"), FAILED)]

        projection.bad.clear()
        assert await ProjectionOperations(store).retry("guarded", key=page("b")) == 1
        await until_parked(service, store, (3, page("a"), FAILED))
        _, tables = await tables_in(database_url, Guarded())
        assert rows_of(tables) == {"a": [], "b": ["a>b"]}
        await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 8])
async def test_several_keys_that_fail_in_one_batch_are_parked_each_for_itself(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    """With segments, they fail in turn: no segment's attempts make another's count begin anew."""
    pages = "abcdef"
    projection = Guarded(*pages)
    async with guarded(store, projection, segments=segments) as service:
        events = [one for name in pages for one in (visit(name), Broken(page=name), visit(name), visit("z"))]
        saved = await store.append_to_stream("x-1", ANY, events)
        await service.wait_for("guarded", saved, timeout=60)

        expected = [
            (4 * n + 2 + wait, page(name), [FAILED, WAITING][wait]) for n, name in enumerate(pages) for wait in (0, 1)
        ]
        assert await parked(store) == expected
        assert {name: projection.tried.count(name) for name in pages} == dict.fromkeys(pages, 2)
        await check_against_fold(store, database_url, Guarded())


async def test_while_one_segment_waits_for_its_next_attempt_the_others_go_on(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delay never ends, and yet everything else is taken."""
    monkeypatch.setattr("perdure.repository.RetryConfig.delay", lambda *_: 3600)
    async with guarded(store, Guarded("a"), segments=8) as service:
        events = [Broken(page="a"), *[visit(name) for name in ascii_letters]]
        saved = await store.append_to_stream("x-1", ANY, events)

        async def others_are_done() -> bool:
            segments = (await service.status())[0].segments
            return [one.global_position for one in segments].count(saved.global_position) == 7

        await until(service, others_are_done)
        await check_against_fold(store, database_url, Guarded())


async def test_a_function_for_child_keys_that_fails_parks_the_event(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    bad = {"a"}

    def visitors_of(event: Visited) -> list[str]:
        if event.page in bad:
            raise LookupError(event.page)
        return [event.visitor]

    class Childish(TableProjection[Page], table="childish", key="page", on_failure="park"):
        visitors = child_table(Visitor, table="childish_visitors", key=("page", "visitor"), keys=visitors_of)

        @handles
        def visited(self, event: Visited, row: Page | None, visitors: ChildRows[Visitor]) -> Page:
            visitors.put(Visitor(event.page, event.visitor))
            return row or Page(event.page)

    async with guarded(store, Childish()) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), visit("a", "y")])
        await service.wait_for("childish", saved, timeout=30)
        assert await parked(store) == [(1, page("a"), FAILED), (3, page("a"), WAITING)]

        bad.clear()
        await ProjectionOperations(store).retry("childish")
        await until_parked(service, store)
        assert await check_against_fold(store, database_url, Childish()) == 3


async def test_what_the_database_refuses_is_parked_for_the_key_that_it_refuses(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with guarded(store, Guarded()) as service:
        await connection.execute(
            "alter table guarded__v1 add constraint short check (cardinality(path) < 2 or page <> 'a')"
        )
        moves = [Moved(source="a", target="b"), Moved(source="b", target="a"), Moved(source="a", target="b")]
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b"), *moves, visit("c")])
        await service.wait_for("guarded", saved, timeout=30)

        assert await parked(store) == [(4, page("a"), FAILED), (5, page("a"), WAITING)]
        (failed, _) = await everything_parked(store)
        assert failed.failure is not None
        assert (failed.failure.kind, failed.attempts) == ("database", 2)
        _, tables = await tables_in(database_url, Guarded())
        assert rows_of(tables) == {"a": ["a>b"], "b": ["a>b", "b>a", "a>b"], "c": []}
        await check_against_fold(store, database_url, Guarded())

        await connection.execute("alter table guarded__v1 drop constraint short")
        await ProjectionOperations(store).retry("guarded", kind="database")
        await until_parked(service, store)
        await check_against_fold(store, database_url, Guarded())


async def test_an_event_refused_for_all_its_keys_together_is_parked_for_all(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with guarded(store, Guarded()) as service:
        await connection.execute("""
            create function refuse_two() returns trigger language plpgsql as $$
            begin
                if (select count(*) from changed where cardinality(path) > 0) > 1 then raise exception 'no two'; end if;
                return null;
            end $$;
            create trigger refuse_two after update on guarded__v1 referencing new table as changed
                for each statement execute function refuse_two();
            create trigger refuse_two_new after insert on guarded__v1 referencing new table as changed
                for each statement execute function refuse_two();
        """)
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b")])
        await service.wait_for("guarded", saved, timeout=30)
        saved = await store.append_to_stream("x-1", ANY, [Moved(source="a", target="b"), visit("c")])
        await service.wait_for("guarded", saved, timeout=30)

        assert await parked(store) == [(3, page("a"), FAILED), (3, page("b"), FAILED)]
        assert await check_against_fold(store, database_url, Guarded()) == 4


# --- What can't be parked pauses --------------------------------------------------------------------------------------


async def test_an_event_that_can_not_be_decoded_pauses_until_its_upcaster_is_deployed(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    monkeypatch.setattr(registry, "_upcasters", dict(registry._upcasters))

    @event("test.projections.aged")
    class Before:
        page: str

    await store.append_to_stream("x-1", ANY, [Before(page="a")])
    del registry._by_name["test.projections.aged"]

    @event("test.projections.aged", version=2)
    class Now:
        page: str
        words: int

    @upcast("test.projections.aged", from_version=1)
    def too_early(data: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("not deployed yet")

    class Aged(TableProjection[Total], table="aged", key="page", on_failure="park"):
        @handles
        def aged(self, event: Now, row: Total | None) -> Total:
            return Total(event.page, event.words)

    async with guarded(store, Aged()) as service:
        await paused(service, 1)
        (status,) = await service.status()
        assert status.failure is not None
        assert (status.failure.kind, status.failure.keys, status.failed) == ("decoding", (), 0)
        assert "not deployed yet" in status.failure.message

        registry._upcasters.clear()

        @upcast("test.projections.aged", from_version=1)
        def with_words(data: dict[str, Any]) -> dict[str, Any]:
            return {**data, "words": 7}

        await service.resume("aged")
        await service.wait_for("aged", 1, timeout=30)
        assert (await tables_in(database_url, Aged()))[1] == {"aged": {"a": Total("a", 7)}}


async def test_an_event_whose_keys_can_not_be_told_pauses(store: PostgreSQLEventStore) -> None:
    class Keyless(Guarded, table="keyless", key="page", on_failure="park"):
        def keys(self, event: Any, at: Any) -> Any:
            raise LookupError("which?")

    async with guarded(store, Keyless(), segments=4) as service:
        await store.append_to_stream("x-1", ANY, [visit("a")])
        await paused(service, 1)

        async def all_are() -> bool:
            return all(one.is_paused for one in (await service.status())[0].segments)

        await until(service, all_are)
    assert await everything_parked(store) == []


async def test_an_event_for_a_key_too_long_to_be_parked_pauses(store: PostgreSQLEventStore, database_url: str) -> None:
    """The database refuses its row, and would refuse to keep it as parked, too."""
    long = "".join(Random(1).choices(ascii_letters, k=9000))
    async with guarded(store, Guarded()) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit(long), visit("b")])
        assert (await paused(service, 2)).global_position == 2
        assert await ProjectionOperations(store).skip("guarded", 2, "too long") == 1
        await service.wait_for("guarded", saved, timeout=30)

    assert await parked(store) == [(2, "", SKIPPED)]
    await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 4])
async def test_when_there_are_too_many_it_pauses_before_the_next_and_goes_on_after_a_retry(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    projection = Guarded("a")
    async with guarded(store, projection, max_parked=3, segments=segments) as service:
        events = [visit("b"), Broken(page="a"), visit("a"), visit("a"), visit("b"), visit("a"), visit("b")]
        saved = await store.append_to_stream("x-1", ANY, events)
        error = await paused(service, saved.global_position)
        assert error.global_position == 6
        (status,) = await service.status()
        assert (status.failed, status.waiting) == (1, 2)
        assert status.failure is not None
        assert (status.failure.kind, status.failure.keys) == ("too_many_parked", (page("a"),))
        assert "3 events are parked" in status.failure.message
        await check_against_fold(store, database_url, Guarded())

        await service.resume("guarded")
        await paused(service, saved.global_position)
        projection.bad.clear()
        await ProjectionOperations(store).retry("guarded")
        await service.resume("guarded")
        await service.wait_for("guarded", saved, timeout=30)
        await until_parked(service, store)
        await check_against_fold(store, database_url, Guarded())


async def test_a_failing_event_for_which_there_is_no_room_is_told_with_its_error(store: PostgreSQLEventStore) -> None:
    projection = Guarded("a", "b")
    async with guarded(store, projection, max_parked=1) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), Broken(page="b")])
        await paused(service, saved.global_position)
        (status,) = await service.status()
        assert status.failure is not None
        assert (status.failure.kind, status.failure.attempts) == ("too_many_parked", 2)
        assert "RuntimeError: b is bad" in status.failure.message

        projection.bad.remove("b")
        await service.resume("guarded")
        await service.wait_for("guarded", saved, timeout=30)
        assert await parked(store) == [(1, page("a"), FAILED)]


# --- Tried again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 500])
async def test_a_retry_that_succeeds_takes_what_waits_in_order(
    store: PostgreSQLEventStore, database_url: str, batch_size: int
) -> None:
    projection = Guarded("a")
    async with guarded(store, projection, batch_size=batch_size) as service:
        moves = [Moved(source="a", target=name) for name in "bcdef"]
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), *moves, visit("g")])
        await service.wait_for("guarded", saved, timeout=30)
        projection.bad.clear()
        assert await ProjectionOperations(store).retry("guarded", global_position=2) == 1
        await until_parked(service, store)

        _, tables = await tables_in(database_url, Guarded())
        assert rows_of(tables)["a"] == ["broken", *[f"a>{name}" for name in "bcdef"]]
        later = await store.append_to_stream("x-1", ANY, [visit("a")])
        await service.wait_for("guarded", later, timeout=30)
        assert await parked(store) == []
        await check_against_fold(store, database_url, Guarded())


async def test_a_retry_that_fails_again_is_counted_and_its_error_renewed(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    class Renewed(Guarded, table="renewed", key="page", on_failure="park"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            self.tries += 1
            raise RuntimeError(f"try {self.tries}")

    operations = ProjectionOperations(store)
    async with guarded(store, Renewed()) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a")])
        await service.wait_for("renewed", saved, timeout=30)
        for attempts in (3, 4):
            assert await operations.retry("renewed") == 1

            async def is_tried(attempts: int = attempts) -> bool:
                return (await operations.parked("renewed"))[0].attempts == attempts

            await until(service, is_tried)
            (failed,) = await operations.parked("renewed")
            assert failed.failure is not None
            assert (failed.failure.message, failed.failure.attempts) == (f"try {attempts}", attempts)
            assert (failed.state, failed.is_retry_requested) == (FAILED, False)
        assert await parked(store, WAITING) == [(2, page("a"), WAITING)]


async def test_when_a_waiting_event_fails_it_stays_with_what_comes_after_it(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    class Twice(Guarded, table="twice", key="page", on_failure="park"):
        @handles
        def visited(self, event: Visited, row: Page | None, at: StoredEvent, visitors: ChildRows[Visitor]) -> Page:
            self._check(event.visitor)
            return super().visited(event, row, at, visitors)

    projection = Twice("a", "y")
    async with guarded(store, projection) as service:
        events = [Broken(page="a"), visit("a"), visit("a", "y"), visit("a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await service.wait_for("twice", saved, timeout=30)
        projection.bad.remove("a")
        await ProjectionOperations(store).retry("twice")
        await until_parked(service, store, (3, page("a"), FAILED), (4, page("a"), WAITING))
        (failed, _) = await everything_parked(store)
        assert failed.attempts == 1
        await check_against_fold(store, database_url, Twice())


async def test_regression_25_parked_events_are_read_through_upcasters_that_came_later(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    monkeypatch.setattr(registry, "_upcasters", dict(registry._upcasters))

    @event("test.projections.old_order")
    class Order:
        page: str
        euros: int

    class Old(TableProjection[Total], table="orders", key="page", on_failure="park"):
        @handles
        def ordered(self, event: Order, row: Total | None) -> Total:
            raise ValueError("no cents")

    saved = await store.append_to_stream("x-1", ANY, [Order(page="a", euros=3), Order(page="a", euros=4)])
    async with guarded(store, Old()) as service:
        await service.wait_for("orders", saved, timeout=30)
    assert await parked(store) == [(1, page("a"), FAILED), (2, page("a"), WAITING)]
    del registry._by_name["test.projections.old_order"]

    @event("test.projections.old_order", version=2)
    class OrderInCents:
        page: str
        cents: int

    @upcast("test.projections.old_order", from_version=1)
    def in_cents(data: dict[str, Any]) -> dict[str, Any]:
        return {"page": data["page"], "cents": 100 * data["euros"]}

    class New(TableProjection[Total], table="orders", key="page", on_failure="park"):
        @handles
        def ordered(self, event: OrderInCents, row: Total | None) -> Total:
            row = row or Total(event.page)
            row.events += event.cents
            return row

    async with guarded(store, New()) as service:
        await ProjectionOperations(store).retry("orders")
        await until_parked(service, store)
        assert (await tables_in(database_url, New()))[1] == {"orders": {"a": Total("a", 700)}}


async def test_a_parked_event_that_the_log_holds_no_more_is_told(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """As after a restored backup: what stands there now isn't what failed."""
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("b")])
        await service.wait_for("guarded", saved, timeout=30)
        await connection.execute("update perdure.parked_events set event_id = gen_random_uuid()")
        await ProjectionOperations(store).retry("guarded")

        async def is_told() -> bool:
            return isinstance(runner_of(service).trouble, LogDivergedError)

        await until(service, is_told)
    assert len(await parked(store)) == 1


# --- Keys of every type -----------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


@event("test.projections.keyed")
class Keyed:
    number: int
    id: UUID
    day: date
    colour: Colour
    text: str


@dataclass
class KeyedRow:
    number: int
    id: UUID
    day: date
    colour: Colour
    text: str
    count: int = 0


class ByAll(
    TableProjection[KeyedRow], table="by_all", key=("number", "id", "day", "colour", "text"), on_failure="park"
):
    is_broken = True

    @handles
    def keyed(self, event: Keyed, row: KeyedRow | None) -> KeyedRow:
        if self.is_broken:
            raise RuntimeError("broken")
        row = row or KeyedRow(event.number, event.id, event.day, event.colour, event.text)
        row.count += 1
        return row


@pytest.mark.parametrize("text", ["", "a", 'quo"te', "back\\slash", "käse \U0001f9c0", "new\nline", "{schema}"])
async def test_keys_of_every_type_wait_and_go_on(store: PostgreSQLEventStore, database_url: str, text: str) -> None:
    ids = "0190a5a0-0000-7000-8000-00000000000A", "0190A5A0000070008000" + "00000000000a"
    event_data = [
        Keyed(number=-(2**62), id=UUID(one), day=date(2024, 2, 29), colour=Colour.RED, text=text) for one in ids
    ]
    projection = ByAll()
    async with guarded(store, projection, segments=4) as service:
        for one in event_data:
            saved = await store.append_to_stream("x-1", ANY, [one])
            await service.wait_for("by_all", saved, timeout=30)
        failed, waiting = await everything_parked(store)
        assert (failed.state, waiting.state, failed.key) == (FAILED, WAITING, waiting.key)
        assert msgspec.json.decode(failed.key)["text"] == text

        projection.is_broken = False
        assert await ProjectionOperations(store).retry("by_all", key=failed.key) == 1
        await until_parked(service, store)
        _, tables = await tables_in(database_url, projection)
        assert [row.count for row in tables["by_all"].values()] == [2]


# --- The other way: pausing -------------------------------------------------------------------------------------------


async def test_one_segment_pauses_and_the_others_go_on(store: PostgreSQLEventStore, database_url: str) -> None:
    projection = Pausing("a", "b")
    async with guarded(store, projection, segments=8) as service:
        events = [visit("a"), visit("b"), Moved(source="a", target="b"), *[visit(name) for name in ascii_letters]]
        saved = await store.append_to_stream("x-1", ANY, events)

        async def two_are_paused() -> bool:
            segments = (await service.status())[0].segments
            others = {one.global_position for one in segments if not one.is_paused}
            return len([one for one in segments if one.is_paused]) == 2 and others == {saved.global_position}

        await until(service, two_are_paused)
        failures = {one.failure for one in (await service.status())[0].segments if one.failure}
        assert {failure.keys for failure in failures} == {(page("a"),), (page("b"),)}
        assert all(isinstance(failure, EventFailure) and failure.attempts == 2 for failure in failures)
        await check_against_fold(store, database_url, Pausing())

        projection.bad.clear()
        await service.resume("pausing")
        await service.wait_for("pausing", saved, timeout=30)
        await check_against_fold(store, database_url, Pausing())


def test_even_the_shortest_keys_are_spread_over_the_segments() -> None:
    table = Definition(Pages()).table
    hashes = [table.hash_of((name,)) // 8192 for name in ascii_letters]
    assert {hashes.count(segment) for segment in range(8)} == {5, 7}
    assert hashes[0] != hashes[1], "else the tests above show nothing of segments"

"""Events that fail are parked for their keys, and later events of those keys wait behind them."""

from string import ascii_letters

import asyncpg
import pytest

from perdure.children import ChildRows, child_table
from perdure.commit import ANY
from perdure.errors import (
    DatabaseError,
    EventDecodingError,
    UnknownEventTypeError,
    UnknownEventVersionError,
)
from perdure.events import handles
from perdure.projection import TableProjection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.failures import TooManyParkedError, kind_of
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved, Page, Visited, Visitor
from tests.projections.parking_lot import (
    FAILED,
    WAITING,
    Guarded,
    everything_parked,
    guarded,
    page,
    parked,
    rows_of,
    until,
    until_parked,
    until_processed,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


# --- What is recorded of a failure ------------------------------------------------------------------------------------


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
def test_each_failure_has_a_kind(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


async def test_a_parked_event_is_kept_with_its_error_and_attempts(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)
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
        await until_processed(service, "wordy", saved, timeout=30)
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
        await until_processed(service, "guarded", saved, timeout=30)

        expected = [(2, page("a"), FAILED), (4, page("a"), WAITING), (6, page("a"), WAITING)]
        assert await parked(store) == expected
        assert await check_against_fold(store, database_url, Guarded()) == 6
        assert projection.tried == ["a", "a", "b"]
        _, tables = await tables_in(database_url, Guarded())
        assert (tables["guarded"]["a"].visits, tables["guarded"]["b"].path) == (1, ["broken"])


async def test_later_events_wait_over_a_restart(store: PostgreSQLEventStore, database_url: str) -> None:
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a")])
        await until_processed(service, "guarded", saved, timeout=30)
    async with guarded(store, Guarded()) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b")])
        await until_processed(service, "guarded", saved, timeout=30)

    assert await parked(store) == [(2, page("a"), FAILED), (3, page("a"), WAITING)]
    await check_against_fold(store, database_url, Guarded())


@pytest.mark.parametrize("segments", [1, 8])
async def test_an_event_over_two_keys_is_parked_for_the_one_it_fails_for(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    async with guarded(store, Guarded("a"), segments=segments) as service:
        events = [visit("a"), visit("b"), Moved(source="a", target="b"), Moved(source="b", target="a"), visit("b")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "guarded", saved, timeout=30)

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
        await until_processed(service, "guarded", saved, timeout=30)
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
    """With segments, they fail alternately: no segment's attempts reset the count of another."""
    pages = "abcdef"
    projection = Guarded(*pages)
    async with guarded(store, projection, segments=segments) as service:
        events = [one for name in pages for one in (visit(name), Broken(page=name), visit(name), visit("z"))]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "guarded", saved, timeout=60)

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
        await until_processed(service, "childish", saved, timeout=30)
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
        await until_processed(service, "guarded", saved, timeout=30)

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
        await until_processed(service, "guarded", saved, timeout=30)
        saved = await store.append_to_stream("x-1", ANY, [Moved(source="a", target="b"), visit("c")])
        await until_processed(service, "guarded", saved, timeout=30)

        assert await parked(store) == [(3, page("a"), FAILED), (3, page("b"), FAILED)]
        assert await check_against_fold(store, database_url, Guarded()) == 4

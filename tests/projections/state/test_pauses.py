"""What can't be parked pauses its segment, and the others go on."""

from random import Random
from string import ascii_letters
from typing import Any

import pytest

from perdure.commit import ANY
from perdure.events import event, handles, registry, upcast
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.failures import EventFailure
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved, Pages, Total
from tests.projections.parking_lot import (
    FAILED,
    SKIPPED,
    Guarded,
    Pausing,
    everything_parked,
    guarded,
    page,
    parked,
    paused,
    until,
    until_parked,
    until_processed,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


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
        await until_processed(service, "aged", 1, timeout=30)
        assert (await tables_in(database_url, Aged()))[1] == {"aged": {"a": Total("a", 7)}}


async def test_an_event_whose_keys_are_unknown_pauses(store: PostgreSQLEventStore) -> None:
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
    """The database refuses its row, and would also refuse the parked event."""
    long = "".join(Random(1).choices(ascii_letters, k=9000))
    async with guarded(store, Guarded()) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit(long), visit("b")])
        assert (await paused(service, 2)).global_position == 2
        assert await ProjectionOperations(store).skip("guarded", 2, "too long") == 1
        await until_processed(service, "guarded", saved, timeout=30)

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
        await until_processed(service, "guarded", saved, timeout=30)
        await until_parked(service, store)
        await check_against_fold(store, database_url, Guarded())


async def test_a_failing_event_beyond_the_limit_of_parked_events_is_reported_with_its_error(
    store: PostgreSQLEventStore,
) -> None:
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
        await until_processed(service, "guarded", saved, timeout=30)
        assert await parked(store) == [(1, page("a"), FAILED)]


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
        await until_processed(service, "pausing", saved, timeout=30)
        await check_against_fold(store, database_url, Pausing())


def test_even_the_shortest_keys_are_spread_over_the_segments() -> None:
    table = TableDefinition(Pages()).table
    hashes = [table.hash_of((name,)) // 8192 for name in ascii_letters]
    assert {hashes.count(segment) for segment in range(8)} == {5, 7}
    assert hashes[0] != hashes[1], "else the tests above show nothing of segments"

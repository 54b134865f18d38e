"""Exceptions that are no `Exception`: a failure of the event like any other, and never the end of what runs it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
import pytest

from perdure.commit import ANY, AppendResult
from perdure.errors import InlineProjectionError, ProjectionPausedError, UserCodeError
from perdure.events import event, handles, registry, upcast
from perdure.projection import TableProjection
from perdure.projections.check import check_projection
from perdure.projections.inline_store import InlineProjections
from perdure.projections.live import LiveProjection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.failures import EventFailure
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold
from tests.projections.counting import Visited
from tests.projections.parking_lot import until, until_processed
from tests.projections.raising import KINDS, ODD, Count, Counts, Odd, PanicException

TWICE = RetryConfig(max_attempts=2, base_delay=0)


def visit(page: str) -> Visited:
    return Visited(page=page, visitor="x")


async def counts_in(connection: asyncpg.Connection) -> dict[str, int]:
    rows = await connection.fetch("select page, sum(visits)::integer as visits from counts group by page")
    return {row["page"]: row["visits"] for row in rows}


@pytest.mark.parametrize("error", ODD)
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_handler_raises_is_a_failure_of_its_event(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    kind: Callable[[Odd], Any],
    error: type[BaseException],
) -> None:
    odd = Odd(error)
    saved = await store.append_to_stream("x-1", ANY, [visit("good"), visit("bad"), visit("good")])
    async with ProjectionService(store, [kind(odd)], retry=TWICE) as service:
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("counts", saved, timeout=30)
        (status,) = await service.status()
        assert await counts_in(connection) == {"good": 1}, "what comes before it is kept, and nothing of it"
        odd.is_broken = False
        await service.resume("counts")
        await service.wait_for("counts", saved, timeout=30)

    failure = status.failure
    assert failure is not None
    assert (status.state, status.error, failure.global_position, failure.attempts) == ("paused", None, 2, 2)
    # Python itself turns the StopIteration of a coroutine into a RuntimeError.
    assert failure.error_type in (error.__name__, "RuntimeError")
    assert error.__name__ in failure.traceback
    assert [record.levelno for record in caplog.records if "attempt" in record.message] == [logging.WARNING] * 2
    assert "is paused" in caplog.text
    assert await counts_in(connection) == {"good": 2, "bad": 1}


class Parking(Counts, table="counts", key="page", on_failure="park"):
    """Parks what fails."""


async def test_what_panics_is_parked_and_stays_so_until_a_retry_succeeds(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    odd, operations = Odd(PanicException), ProjectionOperations(store)

    async def is_tried(times: int) -> bool:
        return odd.tries >= times

    async def is_empty() -> bool:
        return not await operations.parked("counts")

    saved = await store.append_to_stream("x-1", ANY, [visit("bad"), visit("good"), visit("bad")])
    async with ProjectionService(store, [Parking(odd)], retry=TWICE) as service:
        await until_processed(service, "counts", saved, timeout=30)
        assert await counts_in(connection) == {"good": 1}
        await operations.retry("counts")
        await service._builds.runners_of("counts")[0].refresh()
        await until(service, lambda: is_tried(3))
        (parked,) = await operations.parked("counts")
        assert parked.failure is not None
        assert (parked.failure.error_type, parked.failure.attempts) == ("PanicException", 3)
        odd.is_broken = False
        await operations.retry("counts")
        await service._builds.runners_of("counts")[0].refresh()
        await until(service, is_empty)

    assert await counts_in(connection) == {"good": 1, "bad": 2}


@dataclass
class Fragile:
    """An event that is looked at when it is made."""

    page: str
    odd: ClassVar[Odd]

    def __post_init__(self) -> None:
        self.odd()


@pytest.mark.parametrize("error", ODD)
async def test_whatever_an_events_class_raises_is_a_failure_of_the_event(
    store: PostgreSQLEventStore, own_registry: None, error: type[BaseException]
) -> None:
    Fragile.odd = Odd(error)
    Fragile.odd.is_broken = False
    fragile = event("test.projections.fragile")(Fragile)
    saved = await store.append_to_stream("x-1", ANY, [fragile(page="bad")])
    Fragile.odd.is_broken = True
    failure = await failure_of(store, fragile, saved)

    assert (failure.global_position, failure.attempts, failure.kind) == (1, 2, "handler")
    assert error.__name__ in failure.traceback


@pytest.mark.parametrize("error", ODD)
async def test_whatever_an_upcaster_raises_is_a_failure_of_the_event(
    store: PostgreSQLEventStore, own_registry: None, error: type[BaseException]
) -> None:
    @event("test.projections.upcast_badly")
    class Old:
        page: str

    saved = await store.append_to_stream("x-1", ANY, [Old(page="bad")])
    registry._by_name.pop("test.projections.upcast_badly")

    @event("test.projections.upcast_badly", version=2)
    class New:
        page: str

    @upcast("test.projections.upcast_badly", from_version=1)
    def fail(data: dict[str, Any]) -> dict[str, Any]:
        raise error("odd")

    failure = await failure_of(store, New, saved)

    assert (failure.global_position, failure.attempts, failure.kind) == (1, 2, "decoding")
    assert error.__name__ in failure.traceback


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types of events that are those of one test."""
    for name in ("_by_name", "_by_class", "_upcasters"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


async def failure_of(store: PostgreSQLEventStore, cls: Any, saved: AppendResult) -> EventFailure:
    """Why a projection can't take an event of a class."""

    class Happened(TableProjection[Count], table="counts", key="page"):
        @handles
        def happened(self, event: cls, row: Count | None) -> Count:
            return row or Count(event.page)

    async with ProjectionService(store, [Happened()], retry=TWICE) as service:
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("counts", saved, timeout=30)
        (status,) = await service.status()
    assert status.failure is not None
    return status.failure


class StreamCounts(Counts, table="counts", key="page", by_stream="page"):
    """A row for each stream."""

    @handles
    def visited(self, event: Visited, row: Count | None) -> Count:
        self.odd(event.visitor)
        row = row or Count(event.page)
        row.visits += 1
        return row


@pytest.mark.parametrize("error", ODD)
async def test_an_append_whose_row_panics_is_refused_and_the_next_one_works(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, error: type[BaseException]
) -> None:
    odd = Odd(error)
    async with InlineProjections(store, [StreamCounts(odd)]) as inline:
        with pytest.raises(InlineProjectionError, match=error.__name__) as caught:
            async with asyncio.timeout(30):
                await inline.append_to_stream("page-a", ANY, [Visited(page="a", visitor="bad")])
        assert isinstance(caught.value.__cause__, (UserCodeError, StopIteration))
        assert await inline.stream_version("page-a") == 0
        odd.is_broken = False
        await inline.append_to_stream("page-a", 0, [Visited(page="a", visitor="bad")])

    assert await counts_in(connection) == {"a": 1}


async def test_a_row_that_panics_rolls_back_to_where_the_callers_transaction_was(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with InlineProjections(store, [StreamCounts(Odd(PanicException))]) as inline, inline.transaction() as tx:
        with pytest.raises(InlineProjectionError):
            await inline.append_to_stream("page-a", ANY, [Visited(page="a", visitor="bad")], tx=tx)
        await inline.append_to_stream("page-a", ANY, [Visited(page="a", visitor="good")], tx=tx)

    assert await counts_in(connection) == {"a": 1}


@pytest.mark.parametrize("error", [PanicException, GeneratorExit, asyncio.CancelledError])
async def test_a_fold_outside_of_a_service_raises_an_error_that_can_be_caught(
    store: PostgreSQLEventStore, error: type[BaseException]
) -> None:
    """A check, a question to a live projection, a test: what they call is theirs, but not the end of their task."""
    odd = Odd(error)
    odd.is_broken = False
    saved = await store.append_to_stream("page-bad", ANY, [visit("bad")])
    async with ProjectionService(store, [Counts(odd)]) as service:
        await service.wait_for("counts", saved, timeout=30)
    odd.is_broken = True

    with pytest.raises(UserCodeError, match=error.__name__):
        await check_projection(store, Counts(odd))
    with pytest.raises(UserCodeError, match=error.__name__):
        await LiveProjection(store, Counts(odd)).get("bad")
    with pytest.raises(UserCodeError, match=error.__name__) as caught:
        fold(Counts(odd), [visit("bad")])
    assert isinstance(caught.value.__cause__, error)

"""Events that fail: tried again, then the projection pauses, tells, and goes on when it is asked to."""

import asyncio
import logging
import re
from random import Random
from string import printable
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import ProjectionPausedError, ProjectionTimeoutError
from perdure.events import event, handles, registry
from perdure.projection import TableProjection
from perdure.projections.runtime.runner import Runner
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Broken, Page, Pages, Total, Totals, Visited

AT_ONCE = RetryConfig(max_attempts=3, base_delay=0)


def a_visit(page: str = "a") -> Visited:
    return Visited(page=page, visitor="x")


async def paused(service: ProjectionService, name: str, position: int) -> ProjectionPausedError:
    with pytest.raises(ProjectionPausedError) as caught:
        await service.wait_for(name, position, timeout=30)
    return caught.value


async def test_a_failing_event_is_tried_again_then_the_projection_pauses_and_tells(
    store: PostgreSQLEventStore, caplog: pytest.LogCaptureFixture
) -> None:
    projection = Pages(is_broken=True)
    saved = await store.append_to_stream("x-1", ANY, [a_visit(), a_visit(), Broken(page="a"), a_visit()])
    async with ProjectionService(store, [projection], retry=AT_ONCE) as service:
        error = await paused(service, "pages", saved.global_position)
        (status,) = await service.status()

    assert (error.name, error.global_position) == ("pages", 3)
    assert "RuntimeError: broken as asked" in str(error)
    assert (projection.tries, status.state, status.global_position, status.lag) == (3, "paused", 2, 2)
    failure = status.failure
    assert failure is not None
    assert (failure.attempts, failure.error_type, failure.message) == (3, "RuntimeError", "broken as asked")
    assert (failure.global_position, failure.stream_id, failure.stream_version) == (3, "x-1", 3)
    assert failure.event_type == "test.projections.broken"
    assert "raise RuntimeError" in failure.traceback
    assert [record.levelno for record in caplog.records if "attempt" in record.message] == [logging.WARNING] * 3
    assert "is paused" in caplog.text


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
async def test_how_often_it_is_tried_can_be_said(store: PostgreSQLEventStore, max_attempts: int) -> None:
    projection = Pages(is_broken=True)
    saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
    retry = RetryConfig(max_attempts=max_attempts, base_delay=0)
    async with ProjectionService(store, [projection], retry=retry) as service:
        await paused(service, "pages", saved.global_position)

    assert projection.tries == max_attempts


async def test_what_comes_before_the_failing_event_is_written_and_nothing_of_it(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    """The handler of the failing event has changed the row that it was given."""
    saved = await store.append_to_stream("x-1", ANY, [a_visit(), Broken(page="a")])
    async with ProjectionService(store, [Pages(is_broken=True)], retry=AT_ONCE) as service:
        await paused(service, "pages", saved.global_position)

    assert await check_against_fold(store, database_url, Pages()) == 1


async def test_the_other_projections_go_on(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages(is_broken=True), Totals()], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [a_visit(), Broken(page="a"), a_visit()])
        await paused(service, "pages", saved.global_position)
        await service.wait_for("totals", saved, timeout=30)
        later = await store.append_to_stream("x-1", ANY, [a_visit()])
        await service.wait_for("totals", later, timeout=30)

        assert [status.state for status in await service.status()] == ["paused", "running"]


async def test_a_projection_goes_on_with_the_failed_event_when_resumed(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    projection = Pages(is_broken=True)
    async with ProjectionService(store, [projection], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [a_visit(), Broken(page="a"), a_visit()])
        await paused(service, "pages", saved.global_position)
        await service.resume("pages")
        await paused(service, "pages", saved.global_position)
        projection.is_broken = False
        await service.resume("pages")
        await service.wait_for("pages", saved, timeout=30)
        (status,) = await service.status()

    assert (status.state, status.failure, projection.tries) == ("running", None, 7)
    await check_against_fold(store, database_url, Pages())


async def test_a_success_in_between_ends_the_count_of_attempts(store: PostgreSQLEventStore) -> None:
    """Two events that fail twice each, and never three times, pause nothing."""

    class Unsteady(Pages, table="unsteady", key="page"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            self.tries += 1
            if self.tries % 3:
                raise RuntimeError("not yet")
            return row

    projection = Unsteady()
    async with ProjectionService(store, [projection], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), a_visit(), Broken(page="a")])
        await service.wait_for("unsteady", saved, timeout=30)

    assert projection.tries == 6


async def test_a_handler_that_raises_what_cancels_a_task_fails_like_any_other(store: PostgreSQLEventStore) -> None:
    """It would end the task that runs the projection, without a word."""

    class Cancelling(Pages, table="cancelling", key="page"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            raise asyncio.CancelledError

    async with ProjectionService(store, [Cancelling()], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [a_visit(), Broken(page="a")])
        await paused(service, "cancelling", saved.global_position)
        (status,) = await service.status()

    assert status.failure is not None
    assert (status.failure.kind, status.failure.error_type) == ("handler", "CancelledError")
    assert "CancelledError" in status.failure.traceback


async def test_resuming_what_runs_does_nothing(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        await service.resume("pages")
        saved = await store.append_to_stream("x-1", ANY, [a_visit()])
        await service.wait_for("pages", saved, timeout=30)


async def test_it_stays_paused_over_a_restart_until_it_is_resumed(store: PostgreSQLEventStore) -> None:
    saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
    async with ProjectionService(store, [Pages(is_broken=True)], retry=AT_ONCE) as service:
        await paused(service, "pages", saved.global_position)

    async with ProjectionService(store, [Pages()]) as service:
        await paused(service, "pages", saved.global_position)
        await service.resume("pages")
        await service.wait_for("pages", saved, timeout=30)


async def test_another_service_pauses_and_resumes_with_it(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.01)
    saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
    async with (
        ProjectionService(store, [Pages(is_broken=True)], retry=AT_ONCE) as one,
        ProjectionService(store, [Pages(is_broken=True)], retry=AT_ONCE) as other,
    ):
        await paused(one, "pages", saved.global_position)
        await paused(other, "pages", saved.global_position)
        for runner in (*one._builds.runners_of("pages"), *other._builds.runners_of("pages")):
            definition: Any = runner.definition
            definition.projection.is_broken = False
        await one.resume("pages")
        await one.wait_for("pages", saved, timeout=30)
        await other.wait_for("pages", saved, timeout=30)
        later = await store.append_to_stream("x-1", ANY, [a_visit()])
        await other.wait_for("pages", later, timeout=30)


class Empty(Exception):  # noqa: N818 - as people write them
    def __str__(self) -> str:
        return ""


class Unspeakable(Exception):  # noqa: N818 - as people write them
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [Empty(), Unspeakable(), Exception("NUL \x00, surrogate \ud800")])
async def test_regression_27_an_error_without_words_or_with_odd_ones_is_kept_too(
    store: PostgreSQLEventStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A test's log goes from one process to another, which no lone surrogate does.
    monkeypatch.setattr(logging.getLogger("perdure.projections"), "disabled", True)

    class Odd(Pages, table="odd", key="page"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            raise error

    async with ProjectionService(store, [Odd()], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
        await paused(service, "odd", saved.global_position)
        (status,) = await service.status()

    assert status.failure is not None
    assert status.failure.error_type == type(error).__name__


@event("test.projections.counted_before")
class CountedBefore:
    page: str
    text: str = ""


async def test_an_event_that_does_not_fit_its_class_any_more_fails(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    await store.append_to_stream("x-1", ANY, [CountedBefore(page="a")])
    del registry._by_name["test.projections.counted_before"]

    @event("test.projections.counted_before")
    class CountedNow:
        page: str
        number: int

    class Numbers(TableProjection[Total], table="numbers", key="page"):
        @handles
        def counted(self, event: CountedNow, row: Total | None) -> Total | None:
            return row

    async with ProjectionService(store, [Numbers()], retry=AT_ONCE) as service:
        await paused(service, "numbers", 1)
        (status,) = await service.status()

    assert status.failure is not None
    assert status.failure.error_type == "EventDecodingError"


async def test_a_missing_key_fails_the_event(store: PostgreSQLEventStore) -> None:
    class Keyless(Pages, table="keyless", key="page"):
        def keys(self, event: Any, at: Any) -> Any:
            return [None]

    async with ProjectionService(store, [Keyless()], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [a_visit()])
        error = await paused(service, "keyless", saved.global_position)

    assert "ProjectionRowError" in str(error)


async def test_a_value_that_the_database_refuses_pauses_at_its_event(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    """An added constraint fails the whole batch; the event that violates it must be found."""
    async with ProjectionService(store, [Pages()], retry=AT_ONCE) as service:
        await connection.execute("alter table pages__v1 add check (page <> 'bad')")
        events = [a_visit(page) for page in ("a", "b", "a", "bad", "c", "a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        error = await paused(service, "pages", saved.global_position)
        assert error.global_position == 4
        assert await check_against_fold(store, database_url, Pages()) == 3

        await connection.execute("alter table pages__v1 drop constraint pages__v1_page_check")
        await service.resume("pages")
        await service.wait_for("pages", saved, timeout=30)

    await check_against_fold(store, database_url, Pages())


@pytest.mark.parametrize(
    ("page", "reason", "sqlstate"),
    [("".join(Random(1).choices(printable, k=9000)), "index", "54000"), ("bad", "not here", "P0001")],
    ids=["a key too long for an index", "a trigger of the user's"],
)
async def test_what_a_limit_or_a_trigger_refuses_pauses_at_its_event(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, page: str, reason: str, sqlstate: str
) -> None:
    async with ProjectionService(store, [Pages()], retry=AT_ONCE) as service:
        await connection.execute("""
            create function refuse_bad() returns trigger language plpgsql as $$
            begin
                if new.page = 'bad' then raise exception 'not here'; end if;
                return new;
            end $$;
            create trigger refuse_bad before insert on pages__v1 for each row execute function refuse_bad();
        """)
        saved = await store.append_to_stream("x-1", ANY, [a_visit("a"), a_visit(page), a_visit("b")])
        error = await paused(service, "pages", saved.global_position)
        (status,) = await service.status()

    assert error.global_position == 2
    assert reason in error.error
    assert status.failure is not None
    assert (status.failure.stream_version, status.failure.error_type) == (2, "DatabaseError")
    assert f"SQLSTATE {sqlstate}" in status.failure.message


async def test_an_error_of_the_database_itself_never_pauses(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", AT_ONCE)
    async with ProjectionService(store, [Pages()], retry=AT_ONCE) as service:
        await connection.execute("alter table pages__v1 rename to elsewhere")
        saved = await store.append_to_stream("x-1", ANY, [a_visit()])
        runner: Runner = service._builds.runners_of("pages")[0]
        for _ in range(10):
            await runner.changes.wait(runner.changes.count, 30)
        assert {status.state for status in await service.status()} == {"running"}
        while not (trouble := (await service.status())[0].error):
            await runner.changes.wait(runner.changes.count, 30)
        assert "pages__v1" in trouble
        with pytest.raises(ProjectionTimeoutError, match=f"held up by: .*{re.escape(trouble)}") as late:
            await service.wait_for("pages", saved, timeout=0)
        assert late.value.cause == trouble
        await connection.execute("alter table elsewhere rename to pages__v1")
        await service.wait_for("pages", saved, timeout=30)
        assert (await service.status())[0].error is None

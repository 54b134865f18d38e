"""What asks the process to end leaves the service, and never counts against an event. No task of it ends unseen."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import ServiceInterruptedError
from perdure.health import live, ready
from perdure.projections.builds.completion import BuildCompletion
from perdure.projections.operations import ProjectionOperations
from perdure.projections.runtime.supervisor import BuildSupervisor
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages, Visited
from tests.projections.raising import KINDS, Counts, Odd, PanicException
from tests.projections.rebuilding import until_shown, visits
from tests.projections.runtime.test_odd_exceptions import counts_in, visit

PATIENCE = 60.0
ENDING = (KeyboardInterrupt, SystemExit)


def left_by(error: type[BaseException], main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a program in a loop of its own, which something leaves that the loop of the tests wouldn't survive."""
    with asyncio.Runner() as runner, pytest.raises(error, match="odd"):
        runner.run(main())


async def check_that_nothing_counts(url: str, odd: Odd, kind: Callable[[Odd], Any]) -> None:
    """The batch was rolled back, the next service takes all of it, once."""
    odd.is_broken = False
    connection = await asyncpg.connect(url)
    async with PostgreSQLEventStore(url) as store:
        assert not await counts_in(connection)
        (status,) = await ProjectionOperations(store).status("counts")
        assert (status.global_position, status.failure, status.state) == (0, None, "stopped")
        async with ProjectionService(store, [kind(odd)]) as service:
            await service.wait_for("counts", 3, timeout=30)
        assert await counts_in(connection) == {"good": 2, "bad": 1}
    await connection.close()


@pytest.mark.parametrize("error", ENDING)
@pytest.mark.parametrize("kind", KINDS)
def test_what_asks_the_process_to_end_leaves_run(
    database_url: str, kind: Callable[[Odd], Any], error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    odd = Odd(error)

    async def main() -> None:
        async with PostgreSQLEventStore(database_url) as store:
            await store.append_to_stream("x-1", ANY, [visit("good"), visit("bad"), visit("good")])
            service = ProjectionService(store, [kind(odd)])
            try:
                async with asyncio.timeout(30):
                    await service.run()
            finally:
                assert odd.tries == 1
                await check_that_it_is_reported(store, service)

    left_by(error, main)
    asyncio.run(check_that_nothing_counts(database_url, odd, kind))

    (told,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert told.message.startswith(f"the service of projections stops: {error.__name__}")
    assert told.exc_info is not None
    assert "attempt" not in caplog.text


async def check_that_it_is_reported(store: PostgreSQLEventStore, service: ProjectionService) -> None:
    for health in (await live(store, service), await ready(store, service, timeout=PATIENCE)):
        assert health.state == "failed"
        assert any("was stopped by" in (check.reason or "") for check in health.checks)
    with pytest.raises(ServiceInterruptedError):
        await service.wait_for("counts", 3)


@pytest.mark.parametrize("error", ENDING)
def test_it_leaves_the_event_loop_if_the_service_is_used_without_run(
    database_url: str, error: type[BaseException]
) -> None:
    """As asyncio has it for any task; on the way out, the block ends, and the service with it."""
    odd, is_left = Odd(error), False

    async def main() -> None:
        nonlocal is_left
        async with PostgreSQLEventStore(database_url) as store:
            await store.append_to_stream("x-1", ANY, [visit("good"), visit("bad"), visit("good")])
            try:
                async with asyncio.timeout(30), ProjectionService(store, [Counts(odd)]):
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                is_left = True
                raise

    left_by(error, main)
    asyncio.run(check_that_nothing_counts(database_url, odd, Counts))

    assert is_left


# --- Tasks that end by an unforeseen error ----------------------------------------------------------------------------


def once(original: Any, error: BaseException) -> Any:
    """A method that raises once."""
    errors = iter([error])

    async def failing(*arguments: Any, **options: Any) -> Any:
        for one in errors:
            raise one
        return await original(*arguments, **options)

    return failing


@pytest.mark.usefixtures("quick_rebuilds")
@pytest.mark.parametrize("error", [KeyError("a bug"), asyncio.CancelledError("by itself")])
async def test_the_supervisor_is_started_again_after_an_error_which_is_logged(
    store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits(5))
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", saved, timeout=30)
        monkeypatch.setattr(BuildSupervisor, "_list", once(BuildSupervisor._list, error))
        await ProjectionOperations(store).rebuild("pages")
        await until_shown(store, BuildId("pages", 1, 2))
        assert "'perdure projection builds' ended by" in ((await service.status())[0].error or "")
        health, alive = await ready(store, service, timeout=PATIENCE), await live(store, service)

    assert (health.state, alive.state) == ("failed", "ok")
    assert any("'perdure projection builds' has failed for" in (check.reason or "") for check in health.checks)
    assert "'perdure projection builds' ended by an error" in caplog.text
    assert type(error).__name__ in caplog.text


@pytest.mark.usefixtures("quick_rebuilds")
@pytest.mark.parametrize("error", [KeyError("a bug"), PanicException("a bug")])
async def test_a_build_whose_completion_fails_is_completed_later_and_the_error_is_logged(
    store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.supervisor._BACK_OFF", RetryConfig(base_delay=0))
    saved = await store.append_to_stream("x-1", ANY, visits(5))
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", saved, timeout=30)
        monkeypatch.setattr(BuildCompletion, "complete", once(BuildCompletion.complete, error))
        await ProjectionOperations(store).rebuild("pages")
        await until_shown(store, BuildId("pages", 1, 2))

    assert "has to wait" in caplog.text
    assert type(error).__name__ in caplog.text


async def test_a_runner_that_waits_to_be_started_again_doesnt_hold_up_a_service_that_stops(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("perdure.tasks._FIRST_PAUSE", 3600.0)
    monkeypatch.setattr("perdure.tasks._LONGEST_PAUSE", 3600.0)
    service = ProjectionService(store, [Pages()], stop_timeout=3600.0)
    async with service:
        (runner,) = service._builds.runners_of("pages")
        monkeypatch.setattr(runner, "_step", once(runner._step, PanicException("by itself")))
        assert runner._task is not None
        while not service._builds.tasks.is_resting(runner._task):
            await runner.refresh()

    assert "starts again in 3600.00 s" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError("by itself"), GeneratorExit("by itself")])
async def test_a_runner_goes_on_whatever_ends_it(
    store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        (runner,) = service._builds.runners_of("pages")
        monkeypatch.setattr(runner._feed, "after", once(runner._feed.after, error))
        await runner.refresh()
        saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        await service.wait_for("pages", saved, timeout=30)

    assert "'perdure projection pages' ended by an error; it starts again" in caplog.text

"""Background tasks: none ends unseen."""

import asyncio
import logging

import pytest

from perdure.errors import ServiceInterruptedError
from perdure.tasks import Tasks, is_ended_from_outside


class PanicException(BaseException):
    """As a Rust extension raises it that panics."""


def tasks_of_a_test() -> Tasks:
    return Tasks("a test", "test")


async def ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.tasks._FIRST_PAUSE", 0)


@pytest.mark.parametrize("error", [RuntimeError, PanicException, GeneratorExit, asyncio.CancelledError])
async def test_what_ends_by_an_error_is_logged_and_starts_again(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    tasks, tries, goes_on = tasks_of_a_test(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise error("odd")
        goes_on.set()
        await asyncio.Event().wait()

    task = tasks.keep(work, "perdure something")
    await goes_on.wait()
    assert "'perdure something' ended by" in (tasks.trouble or "")
    task.cancel()
    await ended(task)

    assert task.cancelled()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert caplog.records[0].exc_info is not None
    assert error.__name__ in caplog.text


async def test_what_is_started_again_counts_as_well_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.tasks._SETTLED", 0)
    tasks, goes_on = tasks_of_a_test(), asyncio.Event()
    errors = iter([RuntimeError("once")])

    async def work() -> None:
        for error in errors:
            raise error
        goes_on.set()

    await tasks.keep(work, "perdure something")

    assert tasks.trouble is None
    tasks.check_alive()


async def test_what_is_done_once_and_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise PanicException("odd")

    await tasks_of_a_test().start(work, "perdure something")

    assert "'perdure something' ended by an error" in caplog.text
    assert "PanicException: odd" in caplog.text


def test_what_asks_the_process_to_end_stops_all_and_leaves_who_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tasks = tasks_of_a_test()
        others.append(tasks.keep(asyncio.Event().wait, "perdure other"))  # type: ignore[arg-type]  # what it returns is nothing
        await asyncio.sleep(0)
        others.append(tasks.keep(leave, "perdure something"))
        try:
            await tasks.interrupted()
        finally:
            with pytest.raises(ServiceInterruptedError, match="a test was stopped by SystemExit") as caught:
                tasks.check_alive()
            assert isinstance(caught.value.__cause__, SystemExit)

    async def leave() -> None:
        raise SystemExit(3)

    others: list[asyncio.Task[None]] = []
    with asyncio.Runner() as runner, pytest.raises(SystemExit, match="3"):
        runner.run(main())

    assert [task.cancelled() for task in others] == [True, False]
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert caplog.records[0].exc_info is not None


def test_it_leaves_the_event_loop_where_nobody_waits_for_it() -> None:
    was_cancelled = False

    async def main() -> None:
        nonlocal was_cancelled

        async def leave() -> None:
            raise KeyboardInterrupt

        task = tasks_of_a_test().keep(leave, "perdure something")
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert was_cancelled


def test_a_loop_that_is_dropped_closes_what_it_ran() -> None:
    """Nothing takes that for an error, and goes on."""
    left: list[bool] = []

    async def work() -> None:
        task = asyncio.current_task()
        try:
            await asyncio.Event().wait()
        except GeneratorExit as error:
            left.append(is_ended_from_outside(task, error))
            raise

    coroutine = tasks_of_a_test()._again_and_again(work, "perdure something")
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # of asyncio, which else writes to the log
    coroutine.close()
    loop.close()

    assert left == [True]

"""Background tasks: none ends unseen."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from perdure.errors import BackgroundTaskError, ServiceInterruptedError
from perdure.tasks import Tasks, is_ended_from_outside

PATIENCE = 30.0


class PanicException(BaseException):
    """As a Rust extension raises it that panics."""


def tasks_of_a_test() -> Tasks:
    return Tasks("a test", "test")


async def ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.tasks._FIRST_PAUSE", 0.0)


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
    (failure,) = tasks.failures()
    assert (failure.name, failure.error_type, failure.errors) == ("perdure something", error.__name__, 2)
    task.cancel()
    await ended(task)

    assert task.cancelled()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert caplog.records[0].exc_info is not None
    assert error.__name__ in caplog.text


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """Work that fails when it is asked to."""

    def __init__(self, tasks: Tasks) -> None:
        self.task = tasks.keep(self.run, "perdure something")
        self._fail: asyncio.Event | None = None
        self._is_waiting = asyncio.Event()

    async def run(self) -> None:
        self._fail = asyncio.Event()
        self._is_waiting.set()
        await self._fail.wait()
        raise RuntimeError("a bug")

    async def fail(self) -> None:
        """Fail, and be started again."""
        await self._is_waiting.wait()
        self._is_waiting.clear()
        assert self._fail is not None
        self._fail.set()
        await self._is_waiting.wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tasks(clock: Clock) -> Tasks:
    return Tasks("a test", "test", clock=clock)


@pytest.fixture
async def loop(tasks: Tasks) -> AsyncIterator[Loop]:
    loop = Loop(tasks)
    yield loop
    await tasks.stop(loop.task)


async def test_a_task_counts_as_failed_at_once_and_as_recovered_when_it_has_run_for_a_while(
    tasks: Tasks, loop: Loop, clock: Clock
) -> None:
    tasks.check_running()
    await loop.fail()
    with pytest.raises(BackgroundTaskError, match="'perdure something' has failed for 0 s, by RuntimeError"):
        tasks.check_running()
    tasks.check_alive()

    clock.now += 11
    tasks.check_running()
    assert not tasks.failures()


async def test_only_a_task_that_has_failed_for_a_minute_is_a_reason_to_restart_the_process(
    tasks: Tasks, loop: Loop, clock: Clock
) -> None:
    for _ in range(7):
        await loop.fail()
        tasks.check_alive()
        clock.now += 9
    with pytest.raises(BackgroundTaskError, match="failed for 63 s") as caught:
        tasks.check_alive()
    error = caught.value
    assert (error.owner, error.task, error.error_type) == ("a test", "perdure something", "RuntimeError")
    assert (error.seconds, error.is_final) == (63, False)

    clock.now += 11  # it recovers, and the next failure is another one
    tasks.check_alive()
    await loop.fail()
    clock.now += 9
    tasks.check_alive()


@pytest.mark.parametrize("is_broken", [True, False], ids=["that can't be logged", "that is cancelled by a stranger"])
async def test_a_task_that_is_not_started_again_is_a_reason_to_restart_at_once(
    tasks: Tasks, loop: Loop, clock: Clock, monkeypatch: pytest.MonkeyPatch, is_broken: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in a filter of the log")

    if is_broken:
        monkeypatch.setattr("perdure.tasks.logger.error", refuse)
        async with asyncio.timeout(PATIENCE):
            failing = asyncio.create_task(loop.fail())
            await ended(loop.task)
        failing.cancel()
    else:
        await asyncio.sleep(0)
        loop.task.cancel()
        await ended(loop.task)
    clock.now += 3600

    for check in (tasks.check_running, tasks.check_alive):
        with pytest.raises(BackgroundTaskError, match="won't be started again: restart the process") as caught:
            check()
        assert caught.value.is_final
        assert caught.value.error_type == ("ZeroDivisionError" if is_broken else "CancelledError")


async def test_a_task_that_is_stopped_has_not_failed(tasks: Tasks, loop: Loop) -> None:
    await loop.fail()
    await tasks.stop(loop.task)

    assert loop.task.cancelled()
    assert not tasks.failures()


async def test_a_task_may_fail_as_often_as_it_likes(tasks: Tasks) -> None:
    """Regression: after 1024 errors in a row the pause was beyond what a float holds, and the task ended."""
    tries, goes_on = 0, asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries <= 1100:
            raise RuntimeError("a bug")
        goes_on.set()
        await asyncio.Event().wait()

    task = tasks.keep(work, "perdure something")
    waiting = asyncio.create_task(goes_on.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert goes_on.is_set(), task
    await tasks.stop(task)


async def test_what_is_done_once_and_fails_counts_as_failed_for_a_while(tasks: Tasks, clock: Clock) -> None:
    async def work() -> None:
        raise RuntimeError("a bug")

    for count in (1, 2):
        await tasks.start(work, "perdure something")
        (failure,) = tasks.failures()
        assert (failure.text, failure.errors) == ("'perdure something' ended by RuntimeError('a bug')", count)
    clock.now += 11
    assert not tasks.failures()


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

    coroutine = tasks_of_a_test()._run_again(work, "perdure something", "test")
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # of asyncio, which else writes to the log
    coroutine.close()
    loop.close()

    assert left == [True]

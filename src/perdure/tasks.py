"""Background tasks, each with an owner: none of them ends unseen.

A store owns the tasks that append, notify, publish and poll for it. A projection service owns those that run its
projections. A task that is kept running is started again after an error, with a pause that grows. Until it has run for
a while without another error, it counts as failed, and `perdure.health` reports that.

KeyboardInterrupt and SystemExit ask the process to end: they stop all tasks of their owner, and leave
`Tasks.interrupted` if something waits there.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from perdure.errors import BackgroundTaskError, ServiceInterruptedError
from perdure.errors.formats import shown
from perdure.observation import keys

logger = logging.getLogger("perdure.tasks")

INTERRUPTS: Final = (KeyboardInterrupt, SystemExit)
"""The exceptions that ask the process to end."""
TOLERATED: Final = 60.0
"""Seconds for which a task may fail before the process should be restarted."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_MOST_DOUBLINGS: Final = 20
_SETTLED: Final = 10.0
"""Seconds without an error after which a task that was started again no longer counts as failed."""

Work = Callable[[], Coroutine[Any, Any, None]]


class TaskFailure(NamedTuple):
    """A background task that has failed, and doesn't count as recovered yet."""

    name: str
    """The name of the task."""
    error: str
    """The error that ended it last, as text."""
    error_type: str
    """The class of that error."""
    since: float
    """When the first of its errors occurred, by the clock of the owner; between two of them it never recovered."""
    errors: int
    """How many there were since."""
    until: float
    """When it counts as recovered unless it fails again; infinity if it won't be started again."""

    @property
    def text(self) -> str:
        """What happened, in words."""
        return f"{self.name!r} ended by {self.error}"

    @property
    def is_final(self) -> bool:
        """Whether the task won't be started again."""
        return self.until == math.inf


class Tasks:
    """The background tasks of one owner.

    Args:
        owner: the owner, as error messages name it.
        operation: the operation that log records name, where a task doesn't name its own.
        clock: returns seconds that only grow. It says how long a task has failed; pauses are those of the event loop.

    Example:
        tasks = Tasks("the event store", "follow")
        task = tasks.keep(self._notify, "perdure notifier", operation="notify")
        ...
        await tasks.stop(task)
    """

    def __init__(self, owner: str, operation: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._owner = owner
        self._operation = operation
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: set[asyncio.Task[None]] = set()
        """Those of them that run until they are stopped."""
        self._resting: set[asyncio.Task[Any] | None] = set()
        self._failures: dict[object, TaskFailure] = {}
        """By the task if it is kept running, else by its name."""
        self._interrupt: BaseException | None = None
        self._interrupted = asyncio.Event()
        self._waiting = 0

    def failures(self) -> list[TaskFailure]:
        """Return the tasks that have failed and haven't recovered yet, the longest failure first."""
        now = self._clock()
        return sorted([one for one in list(self._failures.values()) if now < one.until], key=lambda one: one.since)

    def check_running(self) -> None:
        """Raise unless all tasks do their work.

        Raises:
            BackgroundTaskError: a task has failed, and hasn't recovered yet.
            ServiceInterruptedError: KeyboardInterrupt or SystemExit has stopped the tasks.
        """
        self.check_interrupted()
        if failures := self.failures():
            raise self._error(failures[0])

    def check_alive(self) -> None:
        """Raise if only a restart of the process can help.

        Raises:
            BackgroundTaskError: a task has failed for a minute, or won't be started again.
            ServiceInterruptedError: KeyboardInterrupt or SystemExit has stopped the tasks.
        """
        self.check_interrupted()
        for failure in self.failures():
            if failure.is_final or self._clock() - failure.since >= TOLERATED:
                raise self._error(failure)

    def check_interrupted(self) -> None:
        """Raise ServiceInterruptedError if KeyboardInterrupt or SystemExit has stopped the tasks."""
        if self._interrupt is not None:
            raise ServiceInterruptedError(self._owner, self._interrupt) from self._interrupt

    def reset(self) -> None:
        """Forget failures and what has stopped the tasks. For an owner that begins again."""
        self._failures.clear()
        self._interrupt = None
        self._interrupted = asyncio.Event()

    def start(self, work: Work, name: str, *, operation: str | None = None) -> asyncio.Task[None]:
        """Run something that ends by itself. An error is logged, and counts as a failure for a while.

        Args:
            work: makes the coroutine.
            name: the name of the task.
            operation: the operation that log records name.
        """
        return self._start(self._run_once(work, name, operation or self._operation), name)

    def keep(self, work: Work, name: str, *, operation: str | None = None) -> asyncio.Task[None]:
        """Keep something running until `stop` or `cancel`, or until it returns. Arguments as for `start`."""
        task = self._start(self._run_again(work, name, operation or self._operation), name)
        self._kept.add(task)
        return task

    def cancel(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel tasks. One that is kept running and is cancelled in another way counts as failed for good."""
        for task in tasks:
            self._kept.discard(task)
            self._failures.pop(task, None)
            task.cancel()

    async def stop(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel tasks, and wait until they have ended."""
        self.cancel(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_resting(self, task: asyncio.Task[None]) -> bool:
        """Return whether a task pauses because it ended by an error and hasn't been started again."""
        return task in self._resting

    async def interrupted(self) -> NoReturn:
        """Wait until something asks the process to end, and raise that."""
        self._waiting += 1
        try:
            await self._interrupted.wait()
        finally:
            self._waiting -= 1
        assert self._interrupt is not None  # noqa: S101 - it is set before the event
        raise self._interrupt

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, name))
        return task

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        is_stopped = task not in self._kept or self._interrupt is not None
        self._kept.discard(task)
        self._failures.pop(task, None)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and not is_stopped:
            self._note(task, name, error, math.inf)

    async def _run_once(self, work: Work, name: str, operation: str) -> None:
        if (error := await self._error_of(work)) is not None:
            self._note(name, name, error, _SETTLED)
            logger.error("%r ended by an error", name, exc_info=error, extra=keys(error, operation=operation))

    async def _run_again(self, work: Work, name: str, operation: str) -> None:
        task = asyncio.current_task()
        while (error := await self._error_of(work)) is not None:
            pause = self._pause_after(task)
            self._note(task, name, error, pause + _SETTLED)
            details = keys(error, operation=operation, pause=pause)
            logger.error("%r ended by an error; it starts again in %.2f s", name, pause, exc_info=error, extra=details)
            self._resting.add(task)
            try:
                await asyncio.sleep(pause)
            finally:
                self._resting.discard(task)

    def _pause_after(self, key: object) -> float:
        former = self._failures.get(key)
        failures = former.errors if former is not None and self._clock() < former.until else 0
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, _MOST_DOUBLINGS))

    def _note(self, key: object, name: str, error: BaseException, recovery: float) -> None:
        """Remember a failure for so many seconds, from the first one on that the task hasn't recovered from."""
        now, former = self._clock(), self._failures.get(key)
        since, count = (former.since, former.errors) if former is not None and now < former.until else (now, 0)
        self._failures[key] = TaskFailure(
            name, shown(error), type(error).__qualname__, since, count + 1, now + recovery
        )

    def _error(self, failure: TaskFailure) -> BackgroundTaskError:
        seconds = self._clock() - failure.since
        return BackgroundTaskError(self._owner, failure.name, failure.error_type, seconds, is_final=failure.is_final)

    async def _error_of(self, work: Work) -> BaseException | None:
        """Return the error that ends the work; None if it returns. Cancellation and interrupts are no errors."""
        task = asyncio.current_task()
        try:
            await work()
        except INTERRUPTS as error:
            if self._interrupt is None:
                self._stop_all(error)
            if not self._waiting:
                raise  # as from any task: asyncio lets it leave the event loop
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            return error
        return None

    def _stop_all(self, error: BaseException) -> None:
        details = keys(error, operation=self._operation)
        logger.critical("%s stops: %s", self._owner, shown(error), exc_info=error, extra=details)
        self._interrupt = error
        self._interrupted.set()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


def is_ended_from_outside(task: asyncio.Task[Any] | None, error: BaseException) -> bool:
    """Return whether an exception ends a task because other code cancels or closes it, not by its own error.

    Args:
        task: the task, as it was when it began.
        error: the exception that leaves its code.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is None or task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        return task is not _running()  # the coroutine is closed, because nothing runs its event loop any more
    return False


def _running() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None

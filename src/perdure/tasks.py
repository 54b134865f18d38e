"""Background tasks, each with an owner: none of them ends unseen.

A task that keeps something going is started again after an error, with a pause that grows. KeyboardInterrupt and
SystemExit ask the process to end: they stop all tasks of their owner, and leave whatever waits for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, NoReturn

from perdure.errors import ServiceInterruptedError
from perdure.errors.formats import shown
from perdure.observation import keys

logger = logging.getLogger("perdure.tasks")

INTERRUPTS: Final = (KeyboardInterrupt, SystemExit)
"""What asks the process to end."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_SETTLED: Final = 10.0
"""Seconds after which a task that was started again counts as well."""

Work = Callable[[], Coroutine[Any, Any, None]]


class _Trouble(NamedTuple):
    """What ended a task that is started again."""

    text: str
    until: float
    """When the task counts as well again, unless it has ended once more."""


class Tasks:
    """The background tasks of one owner.

    Args:
        owner: whose tasks they are, in words.
        operation: what their log records are about.
    """

    def __init__(self, owner: str, operation: str) -> None:
        self._owner = owner
        self._operation = operation
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Task[Any] | None] = set()
        self._troubles: dict[str, _Trouble] = {}
        self._interrupt: BaseException | None = None
        self._interrupted = asyncio.Event()
        self._waiting = 0

    @property
    def trouble(self) -> str | None:
        """What ended a task a moment ago that is started again; None when all is well."""
        now = asyncio.get_running_loop().time()
        return next((trouble.text for trouble in self._troubles.values() if now < trouble.until), None)

    def check_alive(self) -> None:
        """Raise ServiceInterruptedError if the tasks were stopped by what asks the process to end."""
        if self._interrupt is not None:
            raise ServiceInterruptedError(self._owner, self._interrupt) from self._interrupt

    def start(self, work: Work, name: str) -> asyncio.Task[None]:
        """Do something that ends by itself."""
        return self._start(self._once(work, name), name)

    def keep(self, work: Work, name: str) -> asyncio.Task[None]:
        """Do something on and on, until the task is cancelled."""
        return self._start(self._again_and_again(work, name), name)

    def is_resting(self, task: asyncio.Task[None]) -> bool:
        """Whether a task does nothing now, because it ended by an error and hasn't been started again."""
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
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # what it is was logged: asyncio needn't say it again

    async def _once(self, work: Work, name: str) -> None:
        if (error := await self._ended_by(work)) is not None:
            told = keys(error, operation=self._operation)
            logger.error("%r ended by an error", name, exc_info=error, extra=told)

    async def _again_and_again(self, work: Work, name: str) -> None:
        time, task, failures = asyncio.get_running_loop().time, asyncio.current_task(), 0
        while True:
            began = time()
            error = await self._ended_by(work)
            if error is None:
                return
            failures = 1 if time() - began > _SETTLED else failures + 1
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
            self._troubles[name] = _Trouble(f"{name!r} ended by {shown(error)}", time() + pause + _SETTLED)
            told = keys(error, operation=self._operation, pause=pause)
            logger.error("%r ended by an error; it starts again in %.2f s", name, pause, exc_info=error, extra=told)
            self._resting.add(task)
            try:
                await asyncio.sleep(pause)
            finally:
                self._resting.discard(task)

    async def _ended_by(self, work: Work) -> BaseException | None:
        task = asyncio.current_task()
        try:
            await work()
        except INTERRUPTS as error:
            if self._interrupt is None:
                self._stop(error)
            if not self._waiting:
                raise  # as from any task: asyncio lets it leave the event loop
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            return error
        return None

    def _stop(self, error: BaseException) -> None:
        told = keys(error, operation=self._operation)
        logger.critical("%s stops: %s", self._owner, shown(error), exc_info=error, extra=told)
        self._interrupt = error
        self._interrupted.set()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


def is_ended_from_outside(task: asyncio.Task[Any] | None, error: BaseException) -> bool:
    """Whether an exception ends a task because somebody wants that, and not by a fault of what the task does.

    Args:
        task: the task, as it was when it began.
        error: what leaves its code.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is None or task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        return task is not _running()  # the coroutine is closed, for nothing runs its event loop any more
    return False


def _running() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None

"""Strikes at a chosen wait of a coroutine: the first, the second ... until there are no more."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class StruckAt(Generic[T]):
    """Awaits a coroutine, and strikes when it waits for the time that is told.

    Args:
        coroutine: what is awaited.
        number: at which of its waits to strike: 1 is the first.
        strike: cancels the task, say.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], number: int, strike: Callable[[], object]) -> None:
        self.has_struck = False
        self._coroutine = coroutine
        self._number = number
        self._strike = strike

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._coroutine.send
        given: Any = None
        waits = 0
        while True:
            try:
                future = step(given)
            except StopIteration as done:
                result: T = done.value
                return result
            waits += 1
            if waits == self._number:
                self.has_struck = True
                self._strike()
            try:
                given = yield future
                step = self._coroutine.send
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                given = error
                step = self._coroutine.throw


async def cancelled_at(number: int, coroutine: Coroutine[Any, Any, object]) -> tuple[bool, BaseException | None]:
    """Cancel a task at one of its waits. Returns whether it came to that wait, and what the task raised."""
    struck = StruckAt(coroutine, number, lambda: task.cancel())  # noqa: PLW0108 - there is no task yet
    task = asyncio.create_task(_awaited(struck))
    await asyncio.wait((task,))
    return struck.has_struck, asyncio.CancelledError() if task.cancelled() else task.exception()


async def _awaited(struck: StruckAt[object]) -> object:
    return await struck


async def timed_out_at(number: int, coroutine: Coroutine[Any, Any, object]) -> tuple[bool, BaseException | None]:
    """Let the time run out at one of its waits. Returns whether it came to that wait, and what was raised."""
    limit = asyncio.timeout(None)
    struck = StruckAt(coroutine, number, lambda: limit.reschedule(0))
    try:
        async with limit:
            await struck
    except Exception as error:  # noqa: BLE001 - which one it is, is what is tested
        return struck.has_struck, error
    return struck.has_struck, None

"""`Pace`: how long a command queue may decide before other tasks run, and before it commits."""

from __future__ import annotations

from asyncio import sleep
from time import perf_counter
from typing import Final

DECIDING_AT_ONCE: Final = 0.02
"""Seconds of deciding after which the event loop runs all other tasks that are ready."""
DECIDING_PER_COMMIT: Final = 0.1
"""Seconds of deciding after which the decided commands are committed, and the others wait for the next commit."""


class Pace:
    """Measures the time that one batch of commands takes to decide, from its creation on."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._since = perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether the decided commands should be committed now."""
        return self._spent + perf_counter() - self._since >= DECIDING_PER_COMMIT

    async def keep(self) -> None:
        """Let other tasks run if it is time. The time that they take doesn't count."""
        taken = perf_counter() - self._since
        if taken >= DECIDING_AT_ONCE:
            await sleep(0)
            self._spent += taken
            self._since = perf_counter()

"""`Turn`: the place of a command to several aggregates in the queue of one of them. See `group_turns`."""

from __future__ import annotations

import asyncio


class Turn:
    """The place of a command to several aggregates in the queue of one of them.

    Attributes:
        begun: whether the queue waits for its end.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def is_answered(self) -> bool:
        """Whether it is over, so that the queue needn't wait for it."""
        return self._over.is_set()

    def end(self) -> None:
        """Let the queue go on, now or when it comes to it."""
        self._over.set()

    def fail(self, error: BaseException) -> None:  # noqa: ARG002 - as for a command
        """Let it begin, although the queue has ended by an error: it only saves conflicts."""
        self.begun.set()

    async def take(self) -> None:
        """Begin it, and wait for its end."""
        if not self.is_answered:
            self.begun.set()
            await self._over.wait()

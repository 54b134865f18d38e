"""Turns of commands to several aggregates in the queues of these aggregates, so that they meet no others in conflicts.

Such a command decides before it is known which aggregates it changes. If no other command is under way at any of them,
it holds their queues while it saves. Else it waits for its turn in each of these queues, in the order of the streams,
and decides again when all of them have come. So the commands of this process make way for it, and it for them.

    queue of account-ann:  deposit, deposit, [turn], deposit ...     the queue goes on when the turn is over
    queue of account-bob:  [turn], withdraw ...

All wait in the same order, and a queue waits for nothing else while it serves its own commands. So there is no
deadlock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from perdure.aggregate import AggregateRoot
from perdure.errors import AggregateBusyError
from perdure.repository.command_queue import CommandQueue, QueueKey, pause_together
from perdure.repository.turn import Turn
from perdure.retry import Attempts
from perdure.store import EventStore


class GroupTurns:
    """The queues that one command to several aggregates holds.

    Args:
        store: the store of the aggregates.
        attempts: how long it may wait.
    """

    def __init__(self, store: EventStore, attempts: Attempts) -> None:
        self._store = store
        self._attempts = attempts
        self._queues = cast("dict[QueueKey, CommandQueue[Any]]", store.command_queues)
        self._ends: dict[QueueKey, Callable[[], None]] = {}

    def hold_free(self, aggregates: Sequence[AggregateRoot]) -> bool:
        """Hold the queues of the aggregates, too. Return False if others are under way there, who come first."""
        missing = [key for key in map(_key, aggregates) if key not in self._ends]
        if not self._attempts.seconds_left:
            return True  # it may not wait
        if any(self._others(key) for key in missing):
            return False
        for key in missing:
            self._hold(key)
        return True

    async def wait(self, aggregates: Sequence[AggregateRoot]) -> None:
        """Wait until it is the command's turn at all the aggregates, and at those that it has held before.

        Raises:
            AggregateBusyError: the time of the command is over.
        """
        keys = sorted({*self._ends, *map(_key, aggregates)}, key=_stream_id)
        self.end()
        for key in keys:
            queue = self._others(key)
            if queue is None:
                self._hold(key)
                continue
            turn = Turn(self._attempts)
            queue.add(turn)
            self._ends[key] = turn.end
            try:
                async with asyncio.timeout(self._attempts.seconds_left):
                    await turn.begun.wait()
            except TimeoutError:
                raise AggregateBusyError(key[2], self._attempts.seconds) from None

    async def pause(self, seconds: float) -> None:
        """Pause after a conflict. See `pause_together`."""
        await pause_together([queue for key in self._ends if (queue := self._others(key))], seconds)

    def end(self) -> None:
        """Let the others go on."""
        for end in self._ends.values():
            end()
        self._ends.clear()

    def _others(self, key: QueueKey) -> CommandQueue[Any] | None:
        queue = self._queues.get(key)
        return None if queue is None or queue.has_ended else queue

    def _hold(self, key: QueueKey) -> None:
        queue = self._queues[key] = CommandQueue[Any](self._queues, key, self._store)
        self._ends[key] = queue.serve


def _key(aggregate: AggregateRoot) -> QueueKey:
    return (asyncio.get_running_loop(), type(aggregate), aggregate.stream_id)


def _stream_id(key: QueueKey) -> str:
    return key[2]

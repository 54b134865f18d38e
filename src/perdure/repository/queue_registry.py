"""The queues of a store: a lone caller passes them by, and others share one for each aggregate.

    execute() ─┬─ no other is under way ─▶ direct: load, act, save ──── done ─────▶ caller
               │                            ▲          │       └─ another conflict, and others wait ─┐
               │                            └─ pause ◀─┘ conflict                                    │
               └─ another is under way ─▶ queue (`command_queue`) ◀── first in the queue ────────────┘

The direct path costs a lone caller next to nothing: no task, no copy of the state, and the action runs in its own
context. It ends, however it ends, by serving the commands that came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeAlias, TypeVar, cast

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult
from perdure.repository.command import CommandCall
from perdure.repository.command_queue import CommandQueue, QueueKey
from perdure.repository.loader import Loader
from perdure.repository.queued_command import QueuedCommand
from perdure.repository.saver import Pause
from perdure.repository.snapshotter import SnapshotWriter
from perdure.retry import Attempts
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)

Load: TypeAlias = Callable[[], Awaitable[A]]
"""Loads the aggregate of a command."""


class OthersWait(Exception):  # noqa: N818 - not an error: it ends the direct path
    """A lone caller that must decide again finds others in its queue: it decides with them."""


class CommandQueues(Generic[A]):
    """The queues of a store, as a repository uses them: one for each event loop, class and aggregate that is in use.

    All repositories of the store share them, whatever their settings: each command brings those of its own.

    Attributes:
        conflicts_retried: how many conflicts of queued commands of this repository were answered by deciding again.

    Args:
        aggregate_class: the class of the aggregates.
        store: where the events go.
        loader: loads the state.
        snapshots: writes a snapshot after a commit if one is due; None for no snapshots.
    """

    def __init__(
        self, aggregate_class: type[A], store: EventStore, loader: Loader[A], snapshots: SnapshotWriter[A] | None
    ) -> None:
        self.conflicts_retried = 0
        self._aggregate_class = aggregate_class
        self._store = store
        self._loader = loader
        self._snapshots = snapshots
        self._queues = cast("dict[QueueKey, CommandQueue[A]]", store.command_queues)

    async def execute(
        self,
        stream_id: str,
        command: CommandCall[A],
        attempts: Attempts,
        directly: Callable[[Load[A], Pause | None], Awaitable[AppendResult | None]],
    ) -> AppendResult | None:
        """Execute a command directly if its caller is alone; else queue it, and wait for its outcome.

        Args:
            stream_id: the stream of the aggregate.
            command: decides.
            attempts: how long and how often to try.
            directly: executes the command in the caller's task. It gets two functions: one loads the aggregate, and the
                other one pauses after a conflict.
        """
        key = (asyncio.get_running_loop(), self._aggregate_class, stream_id)
        load = partial(self._loader.load, stream_id.partition("-")[2])
        queue = self._queues.get(key)
        if queue is not None and not queue.has_ended:
            queued = self._queued(stream_id, command, attempts)
            queue.add(queued)
            return await self._answer(queued)
        queue = self._queues[key] = CommandQueue(self._queues, key, self._store)
        waiting = queue.waiting

        def load_alone() -> Awaitable[A]:
            if waiting:
                raise OthersWait
            return load()

        try:
            return await directly(load_alone, queue.pause)
        except OthersWait:
            queued = self._queued(stream_id, command, attempts)
            waiting.appendleft(queued)
        finally:
            if waiting:
                queue.serve()
            else:
                del self._queues[key]
        return await self._answer(queued)

    def _queued(self, stream_id: str, command: CommandCall[A], attempts: Attempts) -> QueuedCommand[A]:
        return QueuedCommand(stream_id, command, attempts=attempts, loader=self._loader, snapshots=self._snapshots)

    async def _answer(self, command: QueuedCommand[A]) -> AppendResult | None:
        try:
            return await command.answer()
        finally:
            self.conflicts_retried += command.conflicts_retried

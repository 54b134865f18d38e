"""A batch of a courier at work: its page, its calls under way, and how far it is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from perdure.events import StoredEvent
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.engines.reaction.delivery_page import DeliveryPage
from perdure.projections.state.failures import Failure, TooManyParkedError
from perdure.projections.state.scope import DivertedEvent
from perdure.projections.state.segments import Checkpoint, Segment

Worker = asyncio.Task[None]


class Batch:
    """The state of one batch.

    Args:
        page: its events.
        group: its segments.
        failure: the event after the page, if its key isn't known.

    Attributes:
        group: Its segments, at the position up to which the batch is recorded.
        workers: The tasks that deliver its events.
        calls: What each of them is delivering at the moment.
        done: How many events are recorded.
        parked: Those of them that are parked.
        failure: The first event that failed without being parked.
        overflow: Set if no more events can be parked.
        error: An error of the program itself.
        is_stopped: Whether no further call may begin.
        is_fenced: Whether the segments have another owner, or are paused.
    """

    def __init__(self, page: DeliveryPage, group: Sequence[Segment], failure: Failure | None) -> None:
        self.page = page
        self.group = group
        self.workers: set[Worker] = set()
        self.calls: dict[Worker, Sequence[Parcel]] = {}
        self.done = 0
        self.parked: list[DivertedEvent] = []
        self.failure = failure
        self.overflow: TooManyParkedError | None = None
        self.error: Exception | None = None
        self.is_stopped = self.is_fenced = False

    @property
    def checkpoint(self) -> Checkpoint:
        """The position up to which it is recorded."""
        return self.group[0].checkpoint

    def called(self) -> Iterator[Parcel]:
        """Return the events that are being delivered."""
        for parcels in self.calls.values():
            yield from parcels

    def begin(self, parcels: Sequence[Parcel]) -> Worker:
        """Take note that the current task delivers events."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio's runs in one
        self.calls[task] = parcels
        return task

    def end_of(self, task: Worker) -> bool:
        """Take note that a task has delivered its events. Return False if its call was set aside meanwhile."""
        return self.calls.pop(task, None) is not None

    def failed(self, failure: Failure) -> None:
        """Take note of an event that failed without being parked."""
        if self.failure is None or failure.stored.global_position < self.failure.stored.global_position:
            self.failure = failure

    def recorded(self, settled: Sequence[StoredEvent], diverted: Sequence[DivertedEvent], to: Checkpoint) -> None:
        """Take note that events are recorded."""
        self.page.recorded(len(settled))
        self.group = [segment._replace(checkpoint=to) for segment in self.group]
        self.done += len(settled)
        self.parked += diverted

    async def are_over(self, timeout: float) -> bool:
        """Wait for so many seconds at most until no worker is left. Return whether that is so."""
        if self.workers:
            _, self.workers = await asyncio.wait(self.workers, timeout=timeout)
        return not self.workers

    async def end(self) -> None:
        """Wait until no worker is left."""
        while not await self.are_over(1.0):
            pass

    async def cut_off(self) -> None:
        """Cancel all workers."""
        for worker in self.workers:
            worker.cancel()
        await self.end()

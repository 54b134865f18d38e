"""The queue of commits that wait to be appended: bounded, in turn, and fair to each stream.

It knows nothing of the database. Who appends (a lane) takes a batch, and gives back what must be tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from perdure.errors import StoreClosedError, StoreOverloadedError
from perdure.store import AppendResult, Commit


class Pending:
    """A commit on its way, and the future that its caller waits for."""

    __slots__ = ("commit", "deadline", "future", "was_sent")

    def __init__(self, commit: Commit, future: asyncio.Future[AppendResult], deadline: float) -> None:
        self.commit = commit
        self.future = future
        self.deadline = deadline
        self.was_sent = False
        """Whether an earlier try may have been written: then its ids are looked up first."""


class AppendQueue:
    """Commits in turn, of which batches are taken.

    A stream that is being appended to is held: its later commits wait until the batch is done, so that two lanes never
    meet in one stream, and each stream keeps the order of its calls.

    Args:
        max_events: how many events may wait or be under way.
        max_bytes: how many bytes they may take.
        batch_commits: how many commits a batch may hold.
        batch_bytes: how many bytes a batch may hold, unless it is a single commit.
        timeout: seconds that a caller waits for its turn before StoreOverloadedError.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, batch_commits: int, batch_bytes: int, timeout: float
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batch_commits = batch_commits
        self._batch_bytes = batch_bytes
        self._timeout = timeout
        self._events = 0
        self._bytes = 0
        self._ready: deque[Pending] = deque()
        self._held: dict[str, deque[Pending]] = {}
        self._entrance: deque[tuple[Commit, asyncio.Future[None]]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._events == 0 and not self._entrance

    @property
    def ready(self) -> int:
        """How many commits could be taken now."""
        return len(self._ready)

    async def enter(self, commit: Commit) -> Pending:
        """Queue a commit, waiting in turn for room.

        Raises:
            StoreOverloadedError: there was no room in time; nothing was written.
        """
        if self._entrance or not self._has_room(commit):
            await self._wait_for_room(commit)
        else:
            self._count(commit, 1)
        loop = asyncio.get_running_loop()
        pending = Pending(commit, loop.create_future(), loop.time() + self._timeout)
        self._ready.append(pending)
        return pending

    def take(self, free_lanes: int) -> list[Pending]:
        """A batch for a lane, sorted by stream: a fair share of what is ready, so that other lanes find work too."""
        share = min(self._batch_commits, -(-len(self._ready) // max(free_lanes, 1)))
        batch: list[Pending] = []
        streams: dict[str, set[object]] = {}
        size = 0
        while self._ready and len(batch) < share:
            pending = self._ready.popleft()
            commit = pending.commit
            if pending.future.done():
                self._count(commit, -1)
            elif commit.stream_id in self._held:
                self._held[commit.stream_id].append(pending)
            elif batch and size + commit.size > self._batch_bytes:
                self._ready.appendleft(pending)
                break
            elif commit.events[0].event_id in streams.setdefault(commit.stream_id, set()):
                # The same append twice: the second must see what the first has written.
                self._ready.appendleft(pending)
                break
            else:
                streams[commit.stream_id].add(commit.events[0].event_id)
                size += commit.size
                batch.append(pending)
        for stream_id in streams:
            self._held[stream_id] = deque()
        batch.sort(key=_stream_id)
        return batch

    def done(self, batch: Iterable[Pending], again: Iterable[Pending] = ()) -> None:
        """Let go of a batch's streams. What must be tried again comes first in its stream."""
        retried = list(again)
        waiting: list[Pending] = []
        for pending in batch:
            waiting.extend(self._held.pop(pending.commit.stream_id, ()))
            self._count(pending.commit, -1)
        for pending in retried:
            self._count(pending.commit, 1)
        self._ready.extendleft(reversed(retried + waiting))
        self._let_in()

    def give_up(self) -> list[Pending]:
        """Take out everything that waits."""
        left = [*self._ready, *(pending for held in self._held.values() for pending in held)]
        self._ready.clear()
        for held in self._held.values():
            held.clear()
        for pending in left:
            self._count(pending.commit, -1)
        for _, turn in self._entrance:
            if not turn.done():
                turn.set_exception(StoreClosedError())
        return left

    async def _wait_for_room(self, commit: Commit) -> None:
        turn = asyncio.get_running_loop().create_future()
        entry = (commit, turn)
        self._entrance.append(entry)
        try:
            await asyncio.wait_for(turn, self._timeout)
        except BaseException as error:
            if entry in self._entrance:
                self._entrance.remove(entry)
            elif turn.done() and not turn.cancelled():
                self._count(commit, -1)
            self._let_in()
            if isinstance(error, TimeoutError):
                raise StoreOverloadedError("the queue of appends was full", self._timeout) from None
            raise

    def _let_in(self) -> None:
        while self._entrance and self._has_room(self._entrance[0][0]):
            commit, turn = self._entrance.popleft()
            if not turn.done():
                self._count(commit, 1)
                turn.set_result(None)

    def _has_room(self, commit: Commit) -> bool:
        # A commit that is larger than the whole queue gets its turn when the queue is empty.
        return self._events == 0 or (
            self._events + len(commit.events) <= self._max_events and self._bytes + commit.size <= self._max_bytes
        )

    def _count(self, commit: Commit, sign: int) -> None:
        self._events += sign * len(commit.events)
        self._bytes += sign * commit.size


def _stream_id(pending: Pending) -> str:
    return pending.commit.stream_id

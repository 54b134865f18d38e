"""The queue of commits that wait to be appended: bounded, in turn, and fair to each stream.

It knows nothing of the database. Who appends (a lane) takes a batch, and gives back what must be tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from perdure.commit import AppendResult, Commit
from perdure.errors import StoreOverloadedError


class Pending:
    """A commit on its way, and the future that its caller waits for."""

    __slots__ = ("commit", "deadline", "future", "is_sent", "is_unknown")

    def __init__(self, commit: Commit, future: asyncio.Future[AppendResult], deadline: float) -> None:
        self.commit = commit
        self.future = future
        self.deadline = deadline
        """When to give it up, as the event loop counts time."""
        self.is_sent = False
        """Whether it is with the database, which hasn't answered yet."""
        self.is_unknown = False
        """Whether an earlier try was never answered: it may have been written, so its ids are looked up first."""


class AppendQueue:
    """Commits in turn, of which batches are taken.

    A stream that is being appended to is held: its later commits wait until the batch is done, so that two lanes never
    meet in one stream, and each stream keeps the order of its calls.

    Args:
        max_events: how many events may wait or be under way.
        max_bytes: how many bytes they may take.
        batch_commits: how many commits a batch may hold.
        batch_bytes: how many bytes a batch may hold, unless it is a single commit.
        timeout: seconds that a caller waits for its turn before StoreOverloadedError, and once more for the outcome.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, batch_commits: int, batch_bytes: int, timeout: float
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batch_commits = batch_commits
        self._batch_bytes = batch_bytes
        self._timeout = timeout
        self.events = 0
        """How many events may be taken, or are under way."""
        self._bytes = 0
        self._ready: deque[Pending] = deque()
        self._held: dict[str, deque[Pending]] = {}
        self._entrance: deque[tuple[Pending, asyncio.TimerHandle]] = deque()
        self.on_ready: Callable[[], None] = _nothing
        """Called when something can be taken."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self.events == 0 and not self._entrance

    @property
    def ready(self) -> int:
        """How many commits could be taken now."""
        return len(self._ready)

    def enter(self, commit: Commit) -> Pending:
        """Queue a commit, before the room if that is full. Cancel its future to take it out.

        Its future raises StoreOverloadedError when there was no room in time; nothing was written then.
        """
        loop = asyncio.get_running_loop()
        pending = Pending(commit, loop.create_future(), loop.time() + self._timeout)
        if self._entrance or not self._has_room(commit):
            self._entrance.append((pending, loop.call_at(pending.deadline, self._turn_away, pending)))
        else:
            self._count(commit, 1)
            self._ready.append(pending)
            self.on_ready()
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
        self.let_in()
        return batch

    def done(self, batch: Iterable[Pending], again: Iterable[Pending] = (), *, pause: float = 0.0) -> None:
        """Let go of a batch's streams. What must be tried again comes first in its stream, after a pause if told so."""
        for pending in batch:
            self._count(pending.commit, -1)
        retried: dict[str, deque[Pending]] = {}
        for pending in again:
            self._count(pending.commit, 1)
            retried.setdefault(pending.commit.stream_id, deque()).append(pending)
        for stream_id, first in retried.items():
            self._held[stream_id].extendleft(reversed(first))
        streams = dict.fromkeys(pending.commit.stream_id for pending in batch)
        if pause and retried:
            asyncio.get_running_loop().call_later(pause, self._let_go, list(retried))
            self._let_go([stream_id for stream_id in streams if stream_id not in retried])
        else:
            self._let_go(streams)

    def give_up(self) -> list[Pending]:
        """Take out everything that waits."""
        left = [*self._ready, *(pending for held in self._held.values() for pending in held)]
        for pending in left:
            self._count(pending.commit, -1)
        for pending, timer in self._entrance:
            timer.cancel()
            left.append(pending)
        self._ready.clear()
        self._held.clear()
        self._entrance.clear()
        return left

    def let_in(self) -> None:
        """Let in who waits before the room, in turn, as far as there is room now."""
        before = len(self._ready)
        while self._entrance:
            pending, timer = self._entrance[0]
            if not pending.future.done():
                if not self._has_room(pending.commit):
                    break
                self._count(pending.commit, 1)
                pending.deadline = asyncio.get_running_loop().time() + self._timeout
                self._ready.append(pending)
            timer.cancel()
            self._entrance.popleft()
        if len(self._ready) > before:
            self.on_ready()

    def _let_go(self, stream_ids: Iterable[str]) -> None:
        waiting = [pending for stream_id in stream_ids for pending in self._held.pop(stream_id, ())]
        self._ready.extendleft(reversed(waiting))
        self.let_in()
        if waiting:
            self.on_ready()

    def _turn_away(self, pending: Pending) -> None:
        if not pending.future.done():
            pending.future.set_exception(StoreOverloadedError("the queue of appends was full", self._timeout))
        self.let_in()

    def _has_room(self, commit: Commit) -> bool:
        # A commit that is larger than the whole queue gets its turn when the queue is empty.
        return self.events == 0 or (
            self.events + len(commit.events) <= self._max_events and self._bytes + commit.size <= self._max_bytes
        )

    def _count(self, commit: Commit, sign: int) -> None:
        self.events += sign * len(commit.events)
        self._bytes += sign * commit.size


def _stream_id(pending: Pending) -> str:
    return pending.commit.stream_id


def _nothing() -> None:
    """Nobody waits to be told."""

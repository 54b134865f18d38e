"""The queue of commits that wait to be appended: bounded, in turn, and fair to each stream.

It knows nothing of the database. Who appends (a lane) takes a batch, and gives back what must be tried again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from operator import attrgetter

import msgspec

from perdure.commit import AppendResult, Commit
from perdure.errors import StoreOverloadedError


class Pending(msgspec.Struct, eq=False):
    """A commit on its way, and the future that its caller waits for."""

    commit: Commit
    future: asyncio.Future[AppendResult]
    deadline: float
    """When to give it up, as the event loop counts time."""
    is_sent: bool = False
    """Whether it is with the database, which hasn't answered yet."""
    is_unknown: bool = False
    """Whether an earlier try was never answered: it may have been written, so its ids are looked up first."""
    is_lone: bool = False
    """Whether it takes no others into its batch: something held it up that would hold up all of them."""

    def is_worth(self, waits: int, now: float) -> bool:
        """Whether it is worth a try, after so many waits of its batch: its caller may wait no longer for the others."""
        return not waits or now < self.deadline or self.is_unknown


_stream_id = attrgetter("commit.stream_id")


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
        self._loop = asyncio.get_running_loop()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batch_commits = batch_commits
        self._batch_bytes = batch_bytes
        self._timeout = timeout
        self.events = 0
        """How many events may be taken, or are under way."""
        self._bytes = 0
        self._ready: deque[Pending] = deque()
        self._taken: set[str] = set()
        self._held: defaultdict[str, deque[Pending]] = defaultdict(deque)
        self._entrance: deque[tuple[Pending, asyncio.TimerHandle]] = deque()
        self.on_ready: Callable[[], None] = _nothing
        """Called when something can be taken."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self.events == 0 and not self._entrance

    @property
    def waiting(self) -> int:
        """How many commits wait, those that can't be taken yet and those that there is no room for included."""
        return len(self._ready) + sum(map(len, self._held.values())) + len(self._entrance)

    @property
    def ready(self) -> int:
        """How many commits could be taken now."""
        return len(self._ready)

    def enter(self, commit: Commit) -> Pending:
        """Queue a commit, before the room if that is full. Cancel its future to take it out.

        Its future raises StoreOverloadedError when there was no room in time; nothing was written then.
        """
        pending = Pending(commit, self._loop.create_future(), self._loop.time() + self._timeout)
        if self._entrance or not self._find_room(commit):
            self._entrance.append((pending, self._loop.call_at(pending.deadline, self._turn_away, pending)))
        else:
            self._ready.append(pending)
            self.on_ready()
        return pending

    def take(self, free_lanes: int) -> list[Pending]:
        """A batch for a lane, sorted by stream: a fair share of what is ready, so that other lanes find work too."""
        share = min(self._batch_commits, -(-len(self._ready) // max(free_lanes, 1)))
        batch: list[Pending] = []
        first_ids: dict[int, str] = {}
        size = 0
        while self._ready and len(batch) < share:
            pending = self._ready.popleft()
            commit = pending.commit
            first_id = commit.events[0].event_id.int  # a UUID's own hash is Python, and slow
            if pending.future.done():
                self._leave_room(pending)
            elif commit.stream_id in self._taken:
                self._held[commit.stream_id].append(pending)
            elif first_ids.get(first_id) == commit.stream_id:
                # The same append twice: the second must see what the first has written, and so must what comes after.
                self._taken.add(commit.stream_id)
                self._held[commit.stream_id].append(pending)
            elif first_id in first_ids or (batch and (pending.is_lone or size + commit.size > self._batch_bytes)):
                # Full; or the same event for another stream, which must see it, too.
                self._ready.appendleft(pending)
                break
            else:
                first_ids[first_id] = commit.stream_id
                size += commit.size
                batch.append(pending)
                if pending.is_lone:
                    break
        batch.sort(key=_stream_id)
        self._taken.update(map(_stream_id, batch))
        self.let_in()
        return batch

    def done(self, batch: Collection[Pending], again: Collection[Pending] = (), *, pause: float = 0.0) -> None:
        """Let go of a batch's streams. What must be tried again comes first in its stream, after a pause if told so."""
        retried: dict[str, deque[Pending]] = {}
        for pending in again:
            retried.setdefault(pending.commit.stream_id, deque()).append(pending)
        for stream_id, first in retried.items():
            self._held[stream_id].extendleft(reversed(first))
        self._leave_room(*(batch if not retried else set(batch).difference(again)))
        streams = dict.fromkeys(map(_stream_id, batch))
        if pause and retried:
            self._loop.call_later(pause, self._let_go, list(retried))
            self._let_go([stream_id for stream_id in streams if stream_id not in retried])
        else:
            self._let_go(streams)

    def give_up(self) -> list[Pending]:
        """Take out everything that waits."""
        left = [*self._ready, *(pending for held in self._held.values() for pending in held)]
        self._leave_room(*left)
        for pending, timer in self._entrance:
            timer.cancel()
            left.append(pending)
        self._ready.clear()
        self._taken.clear()
        self._held.clear()
        self._entrance.clear()
        return left

    def let_in(self) -> None:
        """Let in who waits before the room, in turn, as far as there is room now."""
        before = len(self._ready)
        while self._entrance:
            pending, timer = self._entrance[0]
            if not pending.future.done():
                if not self._find_room(pending.commit):
                    break
                pending.deadline = self._loop.time() + self._timeout
                self._ready.append(pending)
            timer.cancel()
            self._entrance.popleft()
        if len(self._ready) > before:
            self.on_ready()

    def _let_go(self, stream_ids: Collection[str]) -> None:
        self._taken.difference_update(stream_ids)
        held = self._held
        waiting = [pending for stream_id in stream_ids if stream_id in held for pending in held.pop(stream_id)]
        self._ready.extendleft(reversed(waiting))
        self.let_in()
        if waiting:
            self.on_ready()

    def _turn_away(self, pending: Pending) -> None:
        if not pending.future.done():
            pending.future.set_exception(StoreOverloadedError("the queue of appends was full", self._timeout))
        self.let_in()

    def _find_room(self, commit: Commit) -> bool:
        """Count the commit in, if there is room for it."""
        events = self.events + len(commit.events)
        size = self._bytes + commit.size
        # A commit that is larger than the whole queue gets its turn when the queue is empty.
        if self.events and (events > self._max_events or size > self._max_bytes):
            return False
        self.events, self._bytes = events, size
        return True

    def _leave_room(self, *left: Pending) -> None:
        self.events -= sum([len(pending.commit.events) for pending in left])
        self._bytes -= sum([pending.commit.size for pending in left])


def _nothing() -> None:
    """Nobody waits to be told."""

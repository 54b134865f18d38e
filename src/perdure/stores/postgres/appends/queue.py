"""The queue of commits that wait to be appended: bounded, first in first out, and fair to each stream.

It knows nothing of the database. A lane takes a batch, writes it, and finishes it. A commit is in one place at a time:

    put ──▶ waiting for room ──admit──▶ ready ──take──▶ in a batch ──finish──▶ out
     │        (queue is full)             ▲ │               │
     └──────────there is room─────────────┤ │ its stream    │ to be tried again
                                          │ ▼ is busy       │ (at once, or after a pause)
                                          │ deferred ◀──────┘
                                          └──release──┘

- *Room* is counted in events and bytes, from admission until the commit is out.
- A *busy* stream is one that a batch writes. Its later commits are deferred until the batch is finished. So two lanes
  never meet in one stream, and each stream keeps the order of its calls. What must be tried again is deferred, too, in
  front of the later ones.
- A commit whose caller was cancelled stays where it is, and is dropped when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from operator import attrgetter
from uuid import UUID

import msgspec

from perdure.commit import AppendResult, Commit
from perdure.errors import StoreOverloadedError
from perdure.errors.roots import copied
from perdure.outcome import AppendOutcome
from perdure.repeat import StoredAppend


class QueuedAppend(msgspec.Struct, eq=False):
    """A commit on its way, and the future that its caller waits for."""

    commit: Commit
    future: asyncio.Future[AppendResult | StoredAppend]
    deadline: float
    """When to give it up, as the event loop counts time."""
    outcome: AppendOutcome = msgspec.field(default_factory=AppendOutcome)
    is_alone: bool = False
    """Whether it shares no batch: something held it up that would hold up all the others."""
    has_room: bool = False
    """Whether it counts in the room of the queue."""

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of its events."""
        return [event.event_id for event in self.commit.events]

    def is_worth_trying(self, waits: int, now: float) -> bool:
        """Return whether to try it after a number of waits of its batch, which may have exceeded its deadline."""
        return not waits or now < self.deadline or self.outcome.must_look_up

    def succeed(self, result: AppendResult | StoredAppend) -> None:
        """Give the caller the result."""
        if not self.future.done():
            self.future.set_result(result)

    def refuse(self, error: BaseException) -> None:
        """Raise an error in the caller that concerns it alone."""
        if not self.future.done():
            self.future.set_exception(error)

    def give_up(self, error: Exception) -> None:
        """Raise an error in the caller that may concern others, too: a copy, or an unknown outcome because of it."""
        if not self.future.done():
            reported = self.outcome.reported(error, self.event_ids)
            self.future.set_exception(copied(error) if reported is error else reported)


_stream_id = attrgetter("commit.stream_id")


class AppendQueue:
    """Commits in the order of their calls, of which batches are taken.

    Args:
        max_events: how many events may be admitted at a time, those of batches under way included.
        max_bytes: how many bytes they may take.
        batch_commits: how many commits a batch may hold.
        batch_bytes: how many bytes a batch may hold, unless it is a single commit.
        timeout: seconds that a caller waits for room before StoreOverloadedError, and once more for the outcome.
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
        """How many events are admitted, those of batches under way included."""
        self._bytes = 0
        self._without_room: deque[tuple[QueuedAppend, asyncio.TimerHandle]] = deque()
        self._ready: deque[QueuedAppend] = deque()
        self._busy: set[str] = set()
        self._deferred: defaultdict[str, deque[QueuedAppend]] = defaultdict(deque)
        self.on_ready: Callable[[], None] = _wake_nobody
        """Called when something can be taken."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self.events == 0 and not self._without_room

    @property
    def waiting(self) -> int:
        """How many commits wait, in any of the three places."""
        return len(self._ready) + sum(map(len, self._deferred.values())) + len(self._without_room)

    @property
    def ready(self) -> int:
        """How many commits could be taken now."""
        return len(self._ready)

    @property
    def without_room(self) -> int:
        """How many commits wait for room."""
        return len(self._without_room)

    def put(self, commit: Commit) -> QueuedAppend:
        """Queue a commit. Cancel its future to take it out, and call `admit` then.

        Its future raises StoreOverloadedError if there was no room in time; nothing was written then.
        """
        queued = QueuedAppend(commit, self._loop.create_future(), self._loop.time() + self._timeout)
        if self._without_room or not self._find_room(queued):
            self._without_room.append((queued, self._loop.call_at(queued.deadline, self._reject, queued)))
        else:
            self._ready.append(queued)
            self.on_ready()
        return queued

    def take(self, free_lanes: int) -> list[QueuedAppend]:
        """Return a batch for a lane, sorted by stream: a fair share of what is ready, to leave some to other lanes."""
        share = min(self._batch_commits, -(-len(self._ready) // max(free_lanes, 1)))
        batch: list[QueuedAppend] = []
        first_ids: dict[int, str] = {}
        size = 0
        while self._ready and len(batch) < share:
            queued = self._ready.popleft()
            commit = queued.commit
            first_id = commit.events[0].event_id.int  # the hash of a UUID runs in Python, and is slow
            if queued.future.done():
                self._leave_room(queued)
            elif commit.stream_id in self._busy:
                self._deferred[commit.stream_id].append(queued)
            elif first_ids.get(first_id) == commit.stream_id:
                # The same append twice: the second must see what the first has written, and so must what comes after.
                self._busy.add(commit.stream_id)
                self._deferred[commit.stream_id].append(queued)
            elif first_id in first_ids or (batch and (queued.is_alone or size + commit.size > self._batch_bytes)):
                # Full; or the same event for another stream, which must see it, too.
                self._ready.appendleft(queued)
                break
            else:
                first_ids[first_id] = commit.stream_id
                size += commit.size
                batch.append(queued)
                if queued.is_alone:
                    break
        batch.sort(key=_stream_id)
        self._busy.update(map(_stream_id, batch))
        self.admit()
        return batch

    def finish(
        self, batch: Collection[QueuedAppend], again: Collection[QueuedAppend] = (), *, pause: float = 0.0
    ) -> None:
        """Take a batch out, and release its streams.

        Args:
            batch: what `take` returned.
            again: those of it that must be tried again. They come first in their streams.
            pause: seconds for which the streams of `again` rest.
        """
        retried: dict[str, deque[QueuedAppend]] = {}
        for queued in again:
            retried.setdefault(queued.commit.stream_id, deque()).append(queued)
        for stream_id, first in retried.items():
            self._deferred[stream_id].extendleft(reversed(first))
        self._leave_room(*(batch if not retried else set(batch).difference(again)))
        streams = dict.fromkeys(map(_stream_id, batch))
        if pause and retried:
            self._loop.call_later(pause, self._release, list(retried))
            self._release([stream_id for stream_id in streams if stream_id not in retried])
        else:
            self._release(streams)

    def clear(self) -> list[QueuedAppend]:
        """Take out everything that waits, and return it."""
        left = [*self._ready, *(queued for deferred in self._deferred.values() for queued in deferred)]
        self._leave_room(*left)
        for queued, timer in self._without_room:
            timer.cancel()
            left.append(queued)
        self._ready.clear()
        self._busy.clear()
        self._deferred.clear()
        self._without_room.clear()
        return left

    def admit(self) -> None:
        """Admit the commits that wait for room, in order, as far as there is room now."""
        before = len(self._ready)
        while self._without_room:
            queued, timer = self._without_room[0]
            if not queued.future.done():
                if not self._find_room(queued):
                    break
                queued.deadline = self._loop.time() + self._timeout
                self._ready.append(queued)
            timer.cancel()
            self._without_room.popleft()
        if len(self._ready) > before:
            self.on_ready()

    def _release(self, stream_ids: Collection[str]) -> None:
        self._busy.difference_update(stream_ids)
        deferred = self._deferred
        waiting = [queued for stream_id in stream_ids if stream_id in deferred for queued in deferred.pop(stream_id)]
        self._ready.extendleft(reversed(waiting))
        self.admit()
        if waiting:
            self.on_ready()

    def _reject(self, queued: QueuedAppend) -> None:
        queued.refuse(StoreOverloadedError("the queue of appends was full", self._timeout))
        self.admit()

    def _find_room(self, queued: QueuedAppend) -> bool:
        """Count the commit in, if there is room for it."""
        events = self.events + len(queued.commit.events)
        size = self._bytes + queued.commit.size
        # A commit that is larger than the whole queue is admitted when the queue is empty.
        if self.events and (events > self._max_events or size > self._max_bytes):
            return False
        self.events, self._bytes = events, size
        queued.has_room = True
        return True

    def _leave_room(self, *left: QueuedAppend) -> None:
        for queued in left:
            if queued.has_room:
                queued.has_room = False
                self.events -= len(queued.commit.events)
                self._bytes -= queued.commit.size


def _wake_nobody() -> None:
    """No lane waits yet."""

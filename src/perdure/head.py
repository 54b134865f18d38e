"""The head of the log, watched for all followers of a store: one poll at a time, however many wait there."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from contextvars import Context
from enum import Enum
from typing import Final, NamedTuple

from perdure.errors import PerdureError
from perdure.log import ChangeSignal, Log, LogFilter, LogPosition, Page, wake
from perdure.observation import keys
from perdure.outage import Outage
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.log")


class _State(Enum):
    """What happens next."""

    RESTING = "no follower waits, so no poll is due"
    DUE = "a timer begins the next poll"
    POLLING = "a poll is under way"
    POLLING_AGAIN = "a poll is under way that may miss what was announced since it began, so another one follows"


class _Follower(NamedTuple):
    """A follower that waits."""

    place: LogPosition
    """The follower has read up to here, and found no further event that matches."""
    is_impatient: bool
    """Whether it waits for a limited time. It is woken when polls fail, because an outage is an error for it."""


_Followers = Mapping["asyncio.Future[None]", _Follower]


class Head:
    """Wakes followers that wait at the head of the log when there may be something to read.

    An announcement wakes all of them at once, and each reads for itself. From time to time, one poll serves them all,
    because an announcement may get lost, and an append that is rolled back isn't announced. While a gap holds events
    back, an announcement causes a poll instead, and followers are woken when the gap is gone.

    A poll reads what follows the furthest event that a follower has read, and verifies that event. The poll may be
    unable to verify the last event of another follower, for example because that one read a different event there. Then
    this follower is woken after each poll, and reads for itself.

    Args:
        log: the log that is polled.
        changes: announces appends.
        tasks: the background tasks of the store.

    Attributes:
        outage: Notified of each poll or read of a follower that fails.
    """

    FIRST_INTERVAL: Final = 0.001
    """Seconds until the first poll. It isn't longer, although appends are announced: code and a server that have just
    polled answer sooner, by some 0.3 ms with an event every 20 ms."""
    LONGEST_INTERVAL: Final = 0.25
    _GROWTH: Final = 2.0
    """The ratio of each interval to the one before."""
    _GROWTH_AT_GAP: Final = 1.1
    """The same at a gap. The end of a gap is noticed after at most another tenth of its duration."""
    _BUSY_INTERVAL: Final = 0.01
    """Seconds between two polls that announcements cause, at least: each poll costs appends time."""
    _FIRST_PAUSE: Final = 0.05
    _LONGEST_PAUSE: Final = 5.0
    """Seconds between polls that fail."""

    def __init__(self, log: Log, changes: ChangeSignal, tasks: Tasks) -> None:
        self.outage = Outage(logger, "following the log")
        self._log = log
        self._changes = changes
        self._changes.listeners.append(self._announced)
        self._tasks = tasks
        self._followers: dict[asyncio.Future[None], _Follower] = {}
        self._state = _State.RESTING
        self._timer: asyncio.TimerHandle | None = None
        """The next poll, while that is due."""
        self._interval = self.FIRST_INTERVAL
        """Seconds between the end of a poll and the next one."""
        self._is_held_back = False
        """Whether the last poll found events behind a gap."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many followers wait."""
        return len(self._followers)

    async def wait(self, place: LogPosition, *, held_back: bool, mark: int, timeout: float) -> None:
        """Return when there may be something to read, after `timeout` seconds at the latest.

        Args:
            place: up to where the follower has just read.
            held_back: whether an append in flight held back what follows.
            mark: `ChangeSignal.count` before it read.
            timeout: seconds; `math.inf` for no limit.
        """
        has_changed = self._changes.count != mark
        if has_changed and not (held_back or self._is_held_back):
            return
        loop = asyncio.get_running_loop()
        self._move_to(loop)
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if timeout == math.inf else loop.call_later(timeout, wake, waiter)
        self._followers[waiter] = _Follower(place, is_impatient=timer is not None)
        if has_changed:
            self._poll_soon()
        elif self._state is _State.RESTING:
            self._poll_within(self._interval)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._followers.pop(waiter, None)
            if not self._followers:
                self._rest()

    def _announced(self, *, is_certain: bool) -> None:
        if not self._followers:
            return
        if is_certain and not self._is_held_back and self.outage.since is None:
            self._interval = self.FIRST_INTERVAL
            self._wake_all()
        else:
            self._poll_soon()

    def _wake_all(self) -> None:
        for waiter in self._followers:
            wake(waiter)
        self._followers.clear()
        self._rest()

    def _poll_soon(self) -> None:
        """Poll within a moment. A poll under way may miss what was just announced, so it is repeated."""
        if self._state in (_State.POLLING, _State.POLLING_AGAIN):
            self._state = _State.POLLING_AGAIN
        else:
            self._poll_within(min(self._interval, self._BUSY_INTERVAL))

    def _poll_within(self, seconds: float) -> None:
        """Let a timer begin the next poll, after so many seconds at most. None may be under way."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # In its own context: a poll is for all followers, so it takes no context variable of one of them.
        self._timer = loop.call_at(due, self._begin, context=Context())
        self._state = _State.DUE

    def _rest(self) -> None:
        """Forget what concerned the followers that have waited. A poll under way may end."""
        self._is_held_back = False
        self.outage.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._state = _State.RESTING
        elif self._state is _State.POLLING_AGAIN:
            self._state = _State.POLLING

    def _begin(self) -> None:
        self._timer = None
        self._state = _State.POLLING
        task = self._tasks.start(self._poll_or_slow_down, "perdure poll of the head of the log")
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        is_repeated = self._state is _State.POLLING_AGAIN
        self._state = _State.RESTING
        if not self._followers:
            return
        if task.cancelled():
            text = "a poll of the head of the log was cut off; the next one follows"
            logger.error(text, extra=keys(operation="follow"))
        self._poll_within(min(self._interval, self._BUSY_INTERVAL) if is_repeated else self._interval)

    async def _poll_or_slow_down(self) -> None:
        try:
            await self._poll()
        except BaseException:
            self._slow_down()
            raise

    async def _poll(self) -> None:
        followers = dict(self._followers)
        if not followers:
            return
        start = _furthest([follower.place for follower in followers.values()])
        try:
            page = await self._log.log_page(start.position, 1, LogFilter(), start.seen)
        except PerdureError as error:
            self._failed(error)
            return
        except Exception:
            self._wake_all()  # each reads for itself, and raises the error where it can be handled
            raise
        self.outage.succeeded(self, operation="follow", global_position=start.position)
        self._is_held_back = page.held_back and bool(self._followers)
        if _wake_those_concerned(followers, start, page):
            self._interval = self.FIRST_INTERVAL
        else:
            growth = self._GROWTH_AT_GAP if page.held_back else self._GROWTH
            self._interval = min(self._interval * growth, self.LONGEST_INTERVAL)

    def _failed(self, error: PerdureError) -> None:
        self._slow_down()
        if not self._followers:
            return
        if not error.is_transient:
            self._wake_all()
            return
        self.outage.failed(self, error, operation="follow", pause=self._interval)
        for waiter, follower in self._followers.items():
            if follower.is_impatient:
                wake(waiter)

    def _slow_down(self) -> None:
        self._interval = min(max(self._interval * 2, self._FIRST_PAUSE), self._LONGEST_PAUSE)

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was due in an event loop that is closed: a store in memory may outlive it."""
        if self._loop is not loop and (self._loop is None or self._loop.is_closed()):
            self._loop, self._timer, self._state = loop, None, _State.RESTING


def _furthest(places: Sequence[LogPosition]) -> LogPosition:
    """Return where a poll begins: after the last event that a follower has read.

    A follower that knows the event at its position has reached that by reading. The position of one that knows none
    was given to it and proves nothing, so where none knows an event, the poll begins at the least position.
    """
    seen = max((place.seen for place in places if place.seen is not None), default=None)
    positions = [place.position for place in places if place.seen == seen]
    return LogPosition(min(positions) if seen is None else max(positions), seen)


def _wake_those_concerned(followers: _Followers, start: LogPosition, page: Page) -> bool:
    """Wake the followers that have something to read, or for which the poll proves nothing.

    Returns whether the log has grown behind a follower.
    """
    has_grown = False
    for waiter, (place, _) in followers.items():
        is_behind = place.position < page.position and page.position > start.position
        has_grown = has_grown or is_behind
        if is_behind or place.position < start.position or place.seen not in (start.seen, None):
            wake(waiter)
    return has_grown

"""The head of the log, watched for all followers of a store: one look at a time, however many wait there."""

from __future__ import annotations

import asyncio
import logging
import math
from contextvars import Context
from typing import Final, NamedTuple

from perdure.errors import PerdureError
from perdure.log import ChangeSignal, Log, LogFilter, SeenEvent
from perdure.observation import keys
from perdure.outage import Outage

logger = logging.getLogger("perdure.log")


class Place(NamedTuple):
    """Where a follower waits: nothing that it wants came after `position`."""

    position: int
    seen: SeenEvent | None
    """The event that it read last, by which it knows the log."""


class Head:
    """Wakes followers that wait at the head of the log when there may be something to read.

    An announcement wakes them at once, and each reads for itself. The log is also looked at from time to time, by one
    look for all: an announcement may get lost, and nobody announces that an append was rolled back. While events stand
    behind a gap, an announcement causes such a look, too, and followers are woken when the gap is gone.

    A look asks for what follows the event that is known to stand furthest on, and verifies that event. A follower for
    which that proves nothing, as one that knows another event, is woken after each look, and verifies its own.

    Args:
        log: what is looked at.
        changes: announces appends.

    Attributes:
        outage: Told when the log can't be read, by looks and by followers.
    """

    SHORTEST: Final = 0.001
    """Seconds until the first look. It isn't longer, though all that is appended is announced: code and a server that
    have just looked are quicker at it, by some 0.3 ms where an event comes every 20 ms."""
    LONGEST: Final = 0.25
    _GROWTH: Final = 2.0
    """What each pause between looks is to the one before."""
    _GROWTH_AT_GAP: Final = 1.1
    """The same at a gap: a tenth of the time that the gap has been there may pass until it is seen to be gone."""
    _BUSY: Final = 0.01
    """Seconds between two looks that announcements cause, at most: each look costs those who append."""
    _FIRST_PAUSE: Final = 0.05
    _LONGEST_PAUSE: Final = 5.0
    """Seconds between looks that fail."""

    def __init__(self, log: Log, changes: ChangeSignal) -> None:
        self.outage = Outage(logger, "following the log")
        self._log = log
        self._changes = changes
        self._changes.listeners.append(self._announced)
        self._waiting: dict[asyncio.Future[None], Place] = {}
        self._impatient: set[asyncio.Future[None]] = set()
        """Those of them that wait for a limited time: an outage is an error for them, so they are woken."""
        self._pause = self.SHORTEST
        self._is_held_back = False
        self._is_asked_again = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many followers wait."""
        return len(self._waiting)

    async def wait(self, place: Place, *, held_back: bool, mark: int, timeout: float) -> None:
        """Return when there may be something to read, after `timeout` seconds at the latest.

        Args:
            place: where the follower stands that has just looked.
            held_back: whether it has found that an append in flight holds back what follows.
            mark: what `ChangeSignal.count` was before it looked.
            timeout: seconds; `math.inf` for no limit.
        """
        has_changed = self._changes.count != mark
        if has_changed and not (held_back or self._is_held_back):
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None
        if timeout != math.inf:
            timer = loop.call_later(timeout, _wake, waiter)
            self._impatient.add(waiter)
        self._move_to(loop)
        self._waiting[waiter] = place
        if has_changed:
            self._ask_again()
        elif self._timer is None:
            self._arm(self._pause)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting.pop(waiter, None)
            self._impatient.discard(waiter)
            if not self._waiting:
                self._rest()

    def _announced(self, *, is_certain: bool) -> None:
        if not self._waiting:
            return
        if is_certain and not self._is_held_back and self.outage.since is None:
            self._pause = self.SHORTEST
            self._wake_all()
        else:
            self._ask_again()

    def _wake_all(self) -> None:
        for waiter in self._waiting:
            _wake(waiter)
        self._waiting.clear()
        self._rest()

    def _ask_again(self) -> None:
        """Look soon, and after a look that is under way once more: it may not see what was just announced."""
        if self._looking is not None:
            self._is_asked_again = True
        else:
            self._arm(min(self._pause, self._BUSY))

    def _arm(self, pause: float) -> None:
        """Look after a pause, unless a look is under way, or due before that."""
        if self._looking is not None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + pause
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # In a context of its own: what a follower has set there isn't about this.
        self._timer = loop.call_at(due, self._begin, context=Context())

    def _rest(self) -> None:
        """Nobody waits: forget what was for those who did. A look that is under way may end."""
        self._is_held_back = self._is_asked_again = False
        self.outage.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._looking = asyncio.create_task(self._look(), name="perdure look at the head of the log")
        self._looking.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        error = None if task.cancelled() else task.exception()
        if self._waiting:
            if task.cancelled() or error is not None:
                told = keys(error, operation="follow")
                logger.error(
                    "a look at the head of the log was cut off; the next one follows", exc_info=error, extra=told
                )
            self._arm(min(self._pause, self._BUSY) if self._is_asked_again else self._pause)
        self._is_asked_again = False

    async def _look(self) -> None:
        places = dict(self._waiting)
        if not places:
            return
        top = max((place.seen for place in places.values() if place.seen is not None), default=None)
        known = [place.position for place in places.values() if place.seen == top]
        position = min(known) if top is None else max(known)
        try:
            page = await self._log.log_page(position, 1, LogFilter(), top)
        except Exception as error:  # noqa: BLE001 - what it is, those who wait find out for themselves
            self._failed(error)
            return
        self.outage.succeeded(self, operation="follow", global_position=position)
        self._is_held_back = page.held_back and bool(self._waiting)
        has_moved = False
        for waiter, place in places.items():
            is_behind = place.position < page.position and page.position > position
            has_moved = has_moved or is_behind
            if is_behind or place.position < position or place.seen not in (top, None):
                _wake(waiter)
        growth = self._GROWTH_AT_GAP if page.held_back else self._GROWTH
        self._pause = self.SHORTEST if has_moved else min(self._pause * growth, self.LONGEST)

    def _failed(self, error: Exception) -> None:
        self._pause = min(max(self._pause * 2, self._FIRST_PAUSE), self._LONGEST_PAUSE)
        if not self._waiting:
            return
        if not isinstance(error, PerdureError):
            told = keys(error, operation="follow")
            logger.error("a look at the head of the log failed in an unforeseen way", exc_info=error, extra=told)
        if isinstance(error, PerdureError) and error.is_transient:
            self.outage.failed(self, error, operation="follow", pause=self._pause)
            for waiter in self._impatient:
                _wake(waiter)
        else:
            self._wake_all()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what was due in an event loop that is closed: a store in memory may outlive it."""
        if self._loop is not loop and (self._loop is None or self._loop.is_closed()):
            self._loop, self._timer, self._looking = loop, None, None


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

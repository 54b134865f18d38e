"""Reads the log for all segments of a runner, from wherever they stand."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from perdure.errors import PerdureError
from perdure.events import StoredEvent
from perdure.projections.state.segments import Checkpoint
from perdure.store import EventStore
from perdure.subscription import Subscription

_position = attrgetter("global_position")


class Feed:
    """The log, page by page. What was read once is kept until it is taken, by the segments that come later too.

    While a full page is taken, the next one is read.

    Args:
        store: where the events are.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._subscription: Subscription | None = None
        self._page: Sequence[StoredEvent] = ()
        self._start = 0
        """The page follows this position."""
        self._ahead: asyncio.Task[Sequence[StoredEvent]] | None = None
        """Reads the page after that."""

    async def after(
        self, checkpoint: Checkpoint, limit: int, upto: int | None, patience: float
    ) -> Sequence[StoredEvent]:
        """The events that follow a checkpoint; none when there were none for `patience` seconds.

        Args:
            checkpoint: where the segments stand.
            limit: how many at most.
            upto: no event after this position.
            patience: how long to wait for one, in seconds.

        Raises:
            LogDivergedError: the event of the checkpoint isn't in the log any more.
        """
        position = checkpoint.global_position
        subscription = self._subscription
        if subscription is None or not self._start <= position <= subscription.position:
            self.forget()
            subscription = self._subscription = self._store.subscribe(position, from_event_id=checkpoint.event_id)
        self._page = _after(position, self._page)
        self._start = position
        if not self._page and self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self._page = _after(position, await ahead)
        if not self._page:
            self._page = (await subscription.next_page(limit, patience)).events
        if self._ahead is None and len(self._page) >= limit:
            self._ahead = asyncio.create_task(_next_page(subscription, limit), name="perdure projection, reading ahead")
        if upto is None:
            return self._page[:limit]
        return self._page[: min(limit, bisect_right(self._page, upto, key=_position))]

    async def following(self, last: StoredEvent, limit: int) -> Sequence[StoredEvent]:
        """What `after` will find after an event that it has returned, once that is read ahead; none where it isn't."""
        ahead, rest = self._ahead, _after(last.global_position, self._page)
        if not rest and ahead is not None:
            await asyncio.wait((ahead,))
            if not ahead.cancelled() and ahead.exception() is None:
                rest = _after(last.global_position, ahead.result())
        return rest[:limit]

    def forget(self) -> None:
        """Read anew from the database, and see that the log is still the one that was read."""
        self._subscription = None
        self._page = ()
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    async def close(self, timeout: float) -> None:
        """Stop reading; wait for so many seconds at most until that is done."""
        ahead = self._ahead
        self.forget()
        if ahead is not None:
            await asyncio.wait((ahead,), timeout=timeout)


def _after(position: int, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    return events[bisect_right(events, position, key=_position) :]


async def _next_page(subscription: Subscription, limit: int) -> Sequence[StoredEvent]:
    # Whatever is wrong will be so when the page is asked for.
    with suppress(PerdureError):
        return (await subscription.next_page(limit, 0)).events
    return ()

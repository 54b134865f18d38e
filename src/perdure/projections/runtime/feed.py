"""Reads the log for all segments of a runner, from wherever they are."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from perdure.events import StoredEvent
from perdure.projections.state.segments import Checkpoint
from perdure.store import EventStore
from perdure.subscription import Subscription

_position = attrgetter("global_position")


class Feed:
    """The log, page by page. A page is retained until all segments have taken it.

    While a full page is taken, the next one is read ahead.

    Args:
        store: where the events are.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._subscription: Subscription | None = None
        self._page: Sequence[StoredEvent] = ()
        """The rest of the page that was read last, which ends at the position of the subscription."""
        self._start = 0
        """The position that `_page` follows."""

    async def after(
        self, checkpoint: Checkpoint, limit: int, upto: int | None, patience: float, known: int = 0
    ) -> Sequence[StoredEvent]:
        """Return the events that follow a checkpoint; none if there were none for `patience` seconds.

        Args:
            checkpoint: where the segments are.
            limit: how many events at most.
            upto: no event after this position.
            patience: how long to wait for an event, in seconds.
            known: up to where the caller has the events already; if that is the end of the page, what follows is
                added to it, without waiting.

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
        if not self._page:
            self._page = (await subscription.next_page(limit, patience)).events
        elif len(self._page) < limit and self._page[-1].global_position <= known:
            self._page = [*self._page, *(await subscription.next_page(limit, 0)).events]
        if len(self._page) >= limit:
            subscription.prefetch(limit)
        if upto is None:
            return self._page[:limit]
        return self._page[: min(limit, bisect_right(self._page, upto, key=_position))]

    def forget(self) -> asyncio.Task[None] | None:
        """Read again from the database, and verify that the log is still the same. Returns the read that ends."""
        subscription, self._subscription = self._subscription, None
        self._page = ()
        return subscription.drop_prefetch() if subscription is not None else None

    async def close(self, timeout: float) -> None:
        """Stop reading, and wait for so many seconds at most until that is done."""
        if (reading := self.forget()) is not None:
            await asyncio.wait((reading,), timeout=timeout)


def _after(position: int, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    return events[bisect_right(events, position, key=_position) :]

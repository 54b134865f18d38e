"""Reads the log for all segments of a runner, from wherever they stand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from perdure.events import StoredEvent
from perdure.log import Subscription
from perdure.projections.segments import Checkpoint
from perdure.store import EventStore

_position = attrgetter("global_position")


class Feed:
    """The log, page by page. What was read once is kept until it is taken, by the segments that come later too.

    Args:
        store: where the events are.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._subscription: Subscription | None = None
        self._page: list[StoredEvent] = []
        self._start = 0
        """The page follows this position."""

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
        if self._subscription is None or not self._start <= position <= self._subscription.position:
            self._subscription = self._store.subscribe(position, from_event_id=checkpoint.event_id)
            self._page = []
        self._page = self._page[bisect_right(self._page, position, key=_position) :]
        self._start = position
        if not self._page:
            self._page = (await self._subscription.next_page(limit, patience)).events
        if upto is None:
            return self._page[:limit]
        return self._page[: min(limit, bisect_right(self._page, upto, key=_position))]

    def forget(self) -> None:
        """Read anew from the database, and see that the log is still the one that was read."""
        self._subscription = None
        self._page = []

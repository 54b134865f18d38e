"""Loads aggregates from a cache, and brings them up to date with the tails of their streams.

    load ─▶ cached? ── yes ─▶ read from the last event that is cached ─▶ is it still the same one? ─ yes ─▶ copy, apply
              │ no                                                         │ no: the log is another one       │
              └────────────▶ replay the stream ◀───────────────────────────┘                                 ▼
                                   └──────────────────────────────────────────────▶ caller, and a copy to the cache

The answer is never older than the store's: each load reads the store, in one round trip if the tail is short. Only
stored events make cached states. So conflicts, failed saves and uncommitted events never reach the cache.
Why it is so: docs/adr/0053.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.copies import own_copy
from perdure.observation import Load, keys
from perdure.page_reader import stream_pages
from perdure.repository.aggregate_cache import AggregateCache, CachedState, LastEvent
from perdure.repository.loader import Loader
from perdure.repository.state_codec import StateCodec
from perdure.store import EventStore
from perdure.transaction import Transaction

logger = logging.getLogger("perdure.repository")

A = TypeVar("A", bound=AggregateRoot)


class CachedLoader(Loader[A]):
    """Loads present states from a cache; states of the past as `Loader` does.

    Args:
        aggregate_class: the class of the aggregates.
        store: where their events are.
        codec: decodes snapshots, for states that aren't cached; None for no snapshots.
        cache: holds the states.
    """

    def __init__(
        self, aggregate_class: type[A], store: EventStore, codec: StateCodec[A] | None, cache: AggregateCache[A]
    ) -> None:
        super().__init__(aggregate_class, store, codec)
        self._cache = cache
        self._has_warned = False

    async def load(
        self,
        aggregate_id: str | UUID,
        at_version: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> A:
        """Load an aggregate, a new one if there is no stream. See `Repository.load`."""
        # What a transaction sees may be rolled back, so it never gets into the cache.
        if at_version is not None or at_time is not None or tx is not None:
            return await super().load(aggregate_id, at_version, at_time, tx)
        aggregate = self._aggregate_class(aggregate_id)
        stream_id = aggregate.stream_id
        with Load(self._store, stream_id) as observed:
            cached = self._cache.get(stream_id)
            if cached is not None:
                continued = await self._continued(cached, observed)
                if continued is not None:
                    observed.cache = "hit"
                    return continued
                self._cache.discard(stream_id)
            observed.cache = "miss"
            last_event = await self._replay(aggregate, observed)
        aggregate.uncommitted.loaded = True
        self._remember(aggregate, last_event)
        return aggregate

    async def _continued(self, cached: CachedState[A], observed: Load) -> A | None:
        """Return a copy with the tail applied; None if the stream doesn't have the last event any more."""
        stream_id, version = cached.aggregate.stream_id, cached.aggregate.stream_version
        aggregate: A | None = None
        last = cached.last_event
        async with aclosing(stream_pages(self._store, stream_id, version - 1)) as pages:
            async for page in pages:
                tail = page
                if aggregate is None:
                    if not cached.last_event.is_same(page[0]):
                        return None
                    aggregate = self._copy_of(cached.aggregate)
                    if aggregate is None:
                        return None
                    tail = page[1:]
                for stored in tail:
                    aggregate.apply_stored_event(stored)
                last = LastEvent(page[-1].event_id, page[-1].recorded_at)
        if aggregate is not None:
            observed.events = aggregate.stream_version - version
            if observed.events:
                self._remember(aggregate, last)
            elif cached.last_event.recorded_at is None:  # what came from a snapshot is verified in full from now on
                self._cache.put(CachedState(cached.aggregate, last))
        return aggregate

    def _remember(self, aggregate: A, last_event: LastEvent | None) -> None:
        """Cache a copy of what was loaded, unless there is no stream."""
        if last_event is None:
            return
        copy = self._copy_of(aggregate)
        if copy is not None:
            self._cache.put(CachedState(copy, last_event))

    def _copy_of(self, aggregate: A) -> A | None:
        """Return a copy, or None if there can't be one. The first time, say so: the cache is of no use then."""
        try:
            return own_copy(aggregate)
        except Exception as error:  # noqa: BLE001 - the user's objects raise what they like
            self._cache.discard(aggregate.stream_id)
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "the state of %r can't be copied, so it isn't cached and all its events are read: %s",
                    aggregate.stream_id,
                    error,
                    extra=keys(error, operation="load", stream_id=aggregate.stream_id),
                )
            return None

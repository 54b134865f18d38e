"""Loads aggregates by applying their events: as they are, and as they were at any time before."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import takewhile
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from perdure.aggregate import AggregateRoot
from perdure.checks import LARGEST_COUNT, check_count, checked_time
from perdure.copies import own_copy
from perdure.events import StoredEvent
from perdure.observation import Load, keys
from perdure.page_reader import stream_pages
from perdure.repository.aggregate_cache import LastEvent
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot
from perdure.store import EventStore
from perdure.transaction import Transaction

logger = logging.getLogger("perdure.repository")

A = TypeVar("A", bound=AggregateRoot)

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Loader(Generic[A]):
    """Loads the aggregates of one class from their events, starting at a snapshot if there is one.

    Args:
        aggregate_class: the class of the aggregates.
        store: where their events are.
        codec: decodes snapshots; None for no snapshots.
    """

    def __init__(self, aggregate_class: type[A], store: EventStore, codec: StateCodec[A] | None) -> None:
        self._aggregate_class = aggregate_class
        self._store = store
        self._codec = codec

    async def load(
        self,
        aggregate_id: str | UUID,
        at_version: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> A:
        """Load an aggregate, a new one if there is no stream. See `Repository.load`."""
        aggregate = self._aggregate_class(aggregate_id)
        last_version = _checked_version(at_version)
        last_time = _checked_time(at_time)
        with Load(self._store, aggregate.stream_id) as observed:
            await self._replay(aggregate, observed, last_version, last_time, tx)
        aggregate.uncommitted.loaded = True
        return aggregate

    async def history(
        self, aggregate_id: str | UUID, tx: Transaction | None = None
    ) -> AsyncGenerator[tuple[StoredEvent, A]]:
        """Yield each event, and the aggregate after it. See `Repository.history`."""
        aggregate = self._aggregate_class(aggregate_id)
        async with aclosing(self._store.iterate_stream(aggregate.stream_id, tx=tx)) as events:
            async for stored in events:
                aggregate.apply_stored_event(stored)
                if tx is not None:
                    aggregate.uncommitted.unconfirmed = stored.event_id
                # The copy takes the next event, so that the aggregate that the caller has never changes.
                following = own_copy(aggregate)
                yield stored, aggregate
                aggregate = following

    async def _replay(
        self,
        aggregate: A,
        observed: Load,
        last_version: int = LARGEST_COUNT,
        last_time: datetime = _END_OF_TIME,
        tx: Transaction | None = None,
    ) -> LastEvent | None:
        """Apply the events of its stream to a new aggregate. Return the last of them, or that of the snapshot."""
        is_present = last_version == LARGEST_COUNT and last_time == _END_OF_TIME

        def is_within(stored: StoredEvent) -> bool:
            return stored.stream_version <= last_version and stored.recorded_at <= last_time

        last: LastEvent | None = None
        # A stream has one snapshot, of a recent state, so it doesn't help for a time in the past.
        if last_time == _END_OF_TIME and self._codec is not None:
            last = await self._restore(aggregate, self._codec, last_version, tx)
            observed.snapshot = "hit" if last is not None else "miss"
        known = aggregate.stream_version
        async with aclosing(stream_pages(self._store, aggregate.stream_id, known, tx=tx)) as pages:
            async for page in pages:
                wanted = page if is_present else list(takewhile(is_within, page))
                for stored in wanted:
                    aggregate.apply_stored_event(stored)
                if tx is not None and wanted:
                    aggregate.uncommitted.unconfirmed = wanted[-1].event_id
                if len(wanted) < len(page):
                    break
                last = LastEvent(page[-1].event_id, page[-1].recorded_at)
        observed.events = aggregate.stream_version - known
        return last

    async def _restore(
        self, aggregate: A, codec: StateCodec[A], last_version: int, tx: Transaction | None
    ) -> LastEvent | None:
        """Restore the snapshot if there is one that fits. Return the event after which it was taken."""
        snapshot = await self._store.read_snapshot(aggregate.stream_id, tx=tx)
        if snapshot is None or snapshot.stream_version > last_version or not _fits(snapshot, codec):
            return None
        try:
            codec.restore(aggregate, snapshot.state)
        except (msgspec.MsgspecError, RecursionError) as error:
            stream_id = aggregate.stream_id
            extra = keys(error, operation="load", stream_id=stream_id)
            logger.warning("the snapshot of %r can't be read, so all its events are: %s", stream_id, error, extra=extra)
            return None
        aggregate.stream_version = aggregate.snapshot_version = snapshot.stream_version
        return LastEvent(snapshot.event_id, None)


def _fits(snapshot: Snapshot, codec: StateCodec[A]) -> bool:
    return (snapshot.state_version, snapshot.state_shape) == (codec.version, codec.shape)


def _checked_version(at_version: int | None) -> int:
    if at_version is None:
        return LARGEST_COUNT
    check_count("at_version", at_version)
    return at_version


def _checked_time(at_time: datetime | None) -> datetime:
    if at_time is None:
        return _END_OF_TIME
    return checked_time("at_time", at_time)

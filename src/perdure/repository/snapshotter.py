"""Writes snapshots after commits. A failure never fails the commit."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final, Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.errors import PerdureError
from perdure.observation import keys
from perdure.repository.aggregate_cache import AggregateCache
from perdure.repository.loader import Loader
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot
from perdure.store import EventStore

logger = logging.getLogger("perdure.repository")

A = TypeVar("A", bound=AggregateRoot)

PATIENCE: Final = 2.0
"""Seconds that writing a snapshot may take: the caller that saves waits for it."""
PAUSE_AFTER_FAILURE: Final = 30.0
"""Seconds until the next try, so that snapshots that can't be written cost next to nothing."""


class SnapshotWriter(Generic[A]):
    """Writes a snapshot when an aggregate was saved that many versions after its last one.

    The state is read back from the store. The state of the saved instance may hold events that were raised since, or
    values that a handler took from an event before it was stored. So a snapshot holds nothing that the events don't.

    Args:
        every: after how many events a snapshot is due.
        loader: reads the state back.
        codec: encodes it.
        store: where the snapshots are.
        cache: the cached states, which take note of snapshots; None for no cache.
    """

    def __init__(
        self,
        every: int,
        loader: Loader[A],
        codec: StateCodec[A],
        store: EventStore,
        cache: AggregateCache[A] | None = None,
    ) -> None:
        self._every = every
        self._loader = loader
        self._codec = codec
        self._store = store
        self._cache = cache
        self._next_try = 0.0

    def __deepcopy__(self, memo: object) -> SnapshotWriter[A]:
        """A copy of an aggregate that it serves is served by it, too."""
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """An aggregate that is sent to another process leaves its repository behind."""
        return type(None), ()

    async def write_if_due(self, saved: A) -> None:
        """Write a snapshot of the saved aggregate if one is due. A failure is logged, never raised."""
        if saved.committed_version - saved.snapshot_version < self._every or monotonic() < self._next_try:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                saved.snapshot_version = await self._write(saved)
            if self._cache is not None:
                self._cache.note_snapshot(saved.stream_id, saved.snapshot_version)
        except Exception as error:
            self._next_try = monotonic() + PAUSE_AFTER_FAILURE
            logger.warning(
                "no snapshot of %r was written, and none will be for %g s; its events are saved: %s",
                saved.stream_id,
                PAUSE_AFTER_FAILURE,
                error,
                exc_info=not isinstance(error, PerdureError),
                extra=keys(error, operation="snapshot", stream_id=saved.stream_id, pause=PAUSE_AFTER_FAILURE),
            )

    async def _write(self, saved: A) -> int:
        """Write the state as the store has it, if no snapshot of it is recent. Return the version of the last one."""
        aggregate = await self._loader.load(saved.aggregate_id)
        version = aggregate.stream_version
        # What was saved may have been loaded without snapshots, by another repository that shares the command queue.
        if version - aggregate.snapshot_version < self._every:
            return aggregate.snapshot_version
        [last] = await self._store.read_stream(aggregate.stream_id, version - 1, 1)
        state = self._codec.encode(aggregate)
        codec = self._codec
        await self._store.write_snapshot(
            Snapshot(aggregate.stream_id, version, last.event_id, codec.version, codec.shape, state)
        )
        return version

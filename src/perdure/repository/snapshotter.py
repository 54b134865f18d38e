"""Taking snapshots: after commits, now and then, and never at the price of one."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final, Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.errors import PerdureError
from perdure.observation import keys
from perdure.repository.loader import Loader
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot
from perdure.store import EventStore

logger = logging.getLogger("perdure.repository")

A = TypeVar("A", bound=AggregateRoot)

PATIENCE: Final = 2.0
"""Seconds that taking a snapshot may take: whoever has saved waits for it."""
PAUSE_AFTER_FAILURE: Final = 30.0
"""Seconds until the next try, so that what can't work costs next to nothing."""


class SnapshotWriter(Generic[A]):
    """Writes a snapshot when an aggregate was saved that many versions after its last one.

    The state is read back from the store: that of the instance that was saved may hold what was raised since, or what a
    handler took from an event before it was stored. So snapshots tell nothing that the events don't.

    Args:
        every: after how many events.
        loader: how the state is read back.
        codec: how it is written.
        store: where to.
    """

    def __init__(self, every: int, loader: Loader[A], codec: StateCodec[A], store: EventStore) -> None:
        self._every = every
        self._loader = loader
        self._codec = codec
        self._store = store
        self._next_try = 0.0

    async def write_if_due(self, saved: A) -> None:
        """Take a snapshot of what was saved, if it is time. Failures are logged, never raised."""
        if saved.committed_version - saved.snapshot_version < self._every or monotonic() < self._next_try:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                saved.snapshot_version = await self._write(saved)
        except Exception as error:
            self._next_try = monotonic() + PAUSE_AFTER_FAILURE
            logger.warning(
                "no snapshot of %r was taken, and none is for %g s; its events are saved: %s",
                saved.stream_id,
                PAUSE_AFTER_FAILURE,
                error,
                exc_info=not isinstance(error, PerdureError),
                extra=keys(error, operation="snapshot", stream_id=saved.stream_id, pause=PAUSE_AFTER_FAILURE),
            )

    async def _write(self, saved: A) -> int:
        """Write the state as the store has it. Returns its version."""
        aggregate = await self._loader.load(saved.aggregate_id)
        version = aggregate.stream_version
        if version > aggregate.snapshot_version:
            [last] = await self._store.read_stream(aggregate.stream_id, version - 1, 1)
            state = self._codec.encode(aggregate)
            codec = self._codec
            await self._store.write_snapshot(
                Snapshot(aggregate.stream_id, version, last.event_id, codec.version, codec.shape, state)
            )
        return version

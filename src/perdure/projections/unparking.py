"""Retries parked events: under the lease of their segment, oldest first, and what waits behind them."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.log import LogFilter
from perdure.projections.batches import Batches
from perdure.projections.failing import told
from perdure.projections.parking import Parking
from perdure.projections.segments import Segment
from perdure.projections.tables import Key
from perdure.stores.postgres.store import PostgreSQLEventStore


class Unparking:
    """Takes parked events again, when it is asked to.

    Args:
        store: where the events are.
        parking: the parked events.
        batches: takes them.
        batch_size: how many at once.
    """

    def __init__(self, store: PostgreSQLEventStore, parking: Parking, batches: Batches, batch_size: int) -> None:
        self._store = store
        self._parking = parking
        self._batches = batches
        self._batch_size = batch_size

    async def retry(self, asked: Sequence[tuple[Key, int]], segments: Sequence[Segment]) -> None:
        """Retry the events of these keys, each with its hash, as far as these segments hold them.

        Raises:
            FencedError: a segment is somebody else's by now.
        """
        for key, key_hash in asked:
            for segment in segments:
                if segment.holds(key_hash) and not segment.is_paused:
                    await self._retry(key, segment)

    async def _retry(self, key: Key, segment: Segment) -> None:
        while queue := await self._parking.queue(key, self._batch_size):
            events = [
                stored
                for position in queue
                for stored in (await self._store.log_page(position - 1, 1, LogFilter())).events
            ]
            taken = await self._batches.take_parked(segment, key, events)
            if taken.failure is not None:
                attempts = queue[taken.failure.stored.global_position] + 1
                await self._parking.fail(key, told(taken.failure, attempts))
                return

"""Retries parked events: under the lease of their segment, oldest first, and what waits behind them."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.projections.engines.table.processor import Batches
from perdure.projections.state.failures import event_failure
from perdure.projections.state.identity import Key
from perdure.projections.state.parked_events import BlockedKeys, ParkedEvents
from perdure.projections.state.segments import Segment


class Unparking:
    """Takes parked events again, when it is asked to.

    Args:
        parking: the parked events.
        batches: takes them.
        batch_size: how many at once.
    """

    def __init__(self, parking: ParkedEvents, batches: Batches, batch_size: int) -> None:
        self._parking = parking
        self._batches = batches
        self._batch_size = batch_size

    async def retry_next(self, standstill: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Take a batch of what is parked for the first key that is asked for, if one of these segments holds it.

        No more at once, so that the log goes on meanwhile, and the leases are kept.

        Raises:
            FencedError: the segment is somebody else's by now, or somebody skipped one of the events.
            LogDivergedError: the log holds something else where the events stood.
        """
        key, key_hash = standstill.asked[0]
        for segment in segments:
            if segment.holds(key_hash) and not segment.is_paused and await self._retry(key, segment, standstill):
                return
        standstill.asked.popleft()

    async def _retry(self, key: Key, segment: Segment, standstill: BlockedKeys) -> bool:
        """Take a batch of a key's parked events. Returns whether more of them may go on."""
        queue = await self._parking.queue(key, self._batch_size)
        if queue:
            taken = await self._batches.take_parked(segment, key, [parked.stored for parked in queue])
            if taken.failure is not None:
                attempts = queue[taken.done].attempts + 1
                names = self._parking.names_of([key])
                await self._parking.record_failure(key, event_failure(taken.failure, attempts, names))
                return False
            if taken.done < len(queue) or len(queue) == self._batch_size:
                return True
        standstill.blocked.discard(key)
        return False

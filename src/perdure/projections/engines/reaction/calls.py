"""The calls of a courier that are under way in this process, and whether another one may begin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perdure.observation import Deliver
from perdure.projections.engines.reaction.courier import Courier, Parcel
from perdure.projections.state.identity import Key
from perdure.projections.state.segments import Segment, Segments
from perdure.tasks import INTERRUPTS


class Calls:
    """Makes the calls of a courier: at most as many at once as it says, and one for each key.

    Args:
        courier: the courier.
        segments: the segments of its build.
        timeout: how long a call may take, in seconds.

    Attributes:
        courier: The courier.
        busy: The keys of which something is under way.
        slots: Limits the calls under way. Take one, then see whether the call `may_begin`.
    """

    def __init__(self, courier: Courier, segments: Segments, timeout: float) -> None:
        self.courier = courier
        self.busy: set[Key] = set()
        self._segments = segments
        self._timeout = timeout
        self.slots = asyncio.Semaphore(courier.concurrency)
        self._positions: set[int] = set()

    @property
    def may_begin(self) -> bool:
        """Whether a call may begin. After the lease is over, another process may have made it."""
        return not self._segments.is_lease_over

    def is_under_way(self, position: int) -> bool:
        """Return whether the event at a position is being delivered."""
        return position in self._positions

    def is_busy(self, segment: Segment) -> bool:
        """Return whether something of a segment is under way."""
        return any(segment.holds(self.courier.key_codec.hash_of(key)) for key in self.busy)

    async def deliver(self, parcels: Sequence[Parcel]) -> Sequence[Exception | None]:
        """Deliver events, holding a slot. See `Courier.deliver`."""
        positions = {parcel.stored.global_position for parcel in parcels}
        keys = {parcel.key for parcel in parcels}
        self._positions |= positions
        self.busy |= keys
        try:
            with Deliver(reaction=self.courier.name, events=[parcel.stored for parcel in parcels]) as observed:
                outcomes = await self._outcomes(parcels)
                observed.delivered = outcomes.count(None)
            return outcomes
        finally:
            self._positions -= positions
            self.busy -= keys

    async def _outcomes(self, parcels: Sequence[Parcel]) -> Sequence[Exception | None]:
        try:
            return await self.courier.deliver(parcels, self._timeout)
        except INTERRUPTS:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of the courier must not lose an event
            return [error] * len(parcels)

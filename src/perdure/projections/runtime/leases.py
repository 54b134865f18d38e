"""The leases of a runner: which segments of its build it processes, and for how long it may.

Several processes may run the same build, each with its own runner. Every runner records a heartbeat in the
database about once a second, which extends its leases, and reads which other runners have one. All runners compute the
same fair shares from that list, without a leader:

- A runner with more segments than its share releases the rest, between two batches.
- A runner with fewer acquires free segments: new ones, released ones, and those whose lease has expired because their
  runner died.
- While there are fewer segments than runners, the runner of the widest segment splits it in two.

A lease alone doesn't protect the rows: a runner may freeze past the end of its lease, and wake up later. So each
acquisition increments the epoch of the segment, and a batch moves the checkpoint only if epoch and position are those
that the runner knows. Otherwise the batch is fenced off: it writes nothing, and the runner reads its segments again
(ADR 20).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

from perdure.log import ChangeSignal, verify_position
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.segments import MOST_SEGMENTS, Checkpoint, Segment, Segments
from perdure.store import EventStore

_HEARTBEAT_INTERVAL: Final = 1.0
"""Seconds between two heartbeats, at most; a quarter of the lease if that is shorter."""
_HOLD_POLL_INTERVAL: Final = 0.02
"""Seconds after which a runner whose segments are held reads whether they still are."""

Assign = Callable[[Sequence[Segment], Sequence[Segment]], Sequence[Segment]]


class Leases:
    """The share that one runner has of the segments of its build.

    Args:
        segments: the segments of the build.
        runner: the name of the runner.
        least: how many segments there should be at least.
        most: how many there may be; 1 if the build can't be split.
        assign: as for `Engine.assign`.
    """

    def __init__(
        self,
        segments: Segments,
        runner: str,
        least: int,
        most: int = MOST_SEGMENTS,
        assign: Assign = lambda _, surplus: surplus,
    ) -> None:
        self._assign = assign
        self._segments = segments
        self._runner = runner
        self._least = least
        self._most = most

    async def renew(self, rate: float, error: str | None) -> list[Segment]:
        """Record a heartbeat, and take a step towards the fair share. Call it only between two batches.

        Args:
            rate: how many events the runner processes in a second, for the status.
            error: why the runner doesn't go on, for the status; None if nothing is wrong.

        Returns:
            All segments of the build; none if the build was dropped.
        """
        others, segments = await self._segments.heartbeat(rate, error)
        if not segments:
            return []
        # A runner that froze after its heartbeat may have expired by now: it still counts itself.
        runners = sorted({*others, self._runner})
        if await self._balance(runners, segments):
            return await self._segments.read()
        return segments

    def mine(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return those of some segments that this runner leases."""
        return [segment for segment in segments if segment.owner == self._runner]

    async def _balance(self, runners: Sequence[str], segments: Sequence[Segment]) -> bool:
        """Take one step towards the fair share. Return whether there was anything to do."""
        mine = self.mine(segments)
        share = share_of(self._runner, runners, len(segments))
        if free := self._assign(mine, mine[share:]):
            await self._segments.release(free)
            return True
        if len(mine) < share and not all(segment.is_leased for segment in segments):
            await self._segments.acquire(share - len(mine))
            return True
        widest = max(segments, key=lambda segment: segment.width)
        if widest in mine and len(segments) < min(max(self._least, len(runners)), self._most):
            await self._segments.split(widest)
            return True
        return False


def share_of(runner: str, runners: Sequence[str], segments: int) -> int:
    """Return the fair share of a runner: as many segments as any other, and one more for the first runners."""
    share, more = divmod(segments, len(runners))
    return share + (runners.index(runner) < more)


class LeaseKeeper:
    """Renews the leases of one runner in time, and knows how far all segments of its build are.

    Args:
        store: the store, whose log must hold the events of all checkpoints.
        definition: the projection.
        segments: the segments of the build.
        runner: the name of the runner.
        options: how many segments there should be, and how long a lease lasts.
        changes: where changes of what is known here are announced.
        assign: as for `Engine.assign`.

    Attributes:
        all: All segments of the build: its own ones as this runner has written them, the others as last read.
        mine: The segments that this runner leases.
    """

    def __init__(
        self,
        store: EventStore,
        definition: ProjectionDefinition,
        segments: Segments,
        runner: str,
        *,
        options: RunnerOptions,
        changes: ChangeSignal,
        assign: Assign = lambda _, surplus: surplus,
    ) -> None:
        self.all: list[Segment] = []
        self.mine: list[Segment] = []
        self._store = store
        self._reader_name = f"{definition.kind} {definition.name!r}"
        self._segments = segments
        most = MOST_SEGMENTS if definition.is_divisible else 1
        self._leases = Leases(segments, runner, options.segments, most, assign)
        self._changes = changes
        self._interval = min(_HEARTBEAT_INTERVAL, options.lease / 4)
        self._due = -math.inf
        self._is_asked = True
        self._processed = 0
        self._renewed_at = -math.inf
        self._reading = asyncio.Lock()

    def renew_soon(self) -> None:
        """Ask for a renewal as the next step of the runner: something may have changed in the database."""
        self._is_asked = True

    def is_due(self, now: float) -> bool:
        """Return whether to renew the leases now."""
        return self._is_asked or now >= self._due

    def seconds_until_due(self, now: float) -> float:
        """Return for how many seconds the leases needn't be renewed."""
        return 0.0 if self.is_due(now) else self._due - now

    async def verify_all(self) -> None:
        """Read all segments, and verify that the log holds the events of their checkpoints.

        Raises:
            LogDivergedError: it doesn't.
        """
        self.all = await self._segments.read()
        await self._verify(self.all)

    async def renew(self, now: float, error: str | None) -> None:
        """Renew the leases, take a step towards the fair share, and verify the checkpoints of new segments.

        Args:
            now: the time of the event loop.
            error: the error that the runner recovers from. It verifies the checkpoints of all its segments then: the
                server may be another one, with another log.

        Raises:
            LogDivergedError: the log lacks the event of a checkpoint.
        """
        rate = self._processed / (now - self._renewed_at)
        self._processed, self._renewed_at = 0, now
        self._due, self._is_asked = now + self._interval, False
        async with self._reading:
            self.all = await self._leases.renew(rate, error)
            verified = set[tuple[int, int]]() if error else {(one.first_hash, one.epoch) for one in self.mine}
            mine = self._leases.mine(self.all)
            await self._verify([segment for segment in mine if (segment.first_hash, segment.epoch) not in verified])
            self.mine = mine
        if any(segment.hold_at is not None for segment in mine):
            self._due = min(self._due, now + _HOLD_POLL_INTERVAL)

    async def read(self) -> None:
        """Read the segments again: others may have moved on, and own ones may be paused, resumed or taken over."""
        # One reading at a time: what was read before `resume` must not overwrite what was read after it.
        async with self._reading:
            segments = await self._segments.read()
            running = {segment.first_hash: segment for segment in self.mine if not segment.is_paused}
            self.all = [running.get(segment.first_hash, segment) for segment in segments]
            mine = self._leases.mine(self.all)
            if mine != self.mine:
                self.renew_soon()  # an operator may have skipped an event before `resume`
                self._changes.announce()
            self.mine = mine

    def advanced(self, group: Sequence[Segment], to: Checkpoint, count: int) -> None:
        """Take note that the runner moved the checkpoint of some segments, by `count` events."""
        firsts = {segment.first_hash for segment in group}
        self.all = [
            segment._replace(checkpoint=to) if segment.first_hash in firsts else segment for segment in self.all
        ]
        self.mine = self._leases.mine(self.all)
        self._processed += count
        self._changes.announce()

    def current(self, group: Sequence[Segment]) -> list[Segment]:
        """Return the segments of a group as they are now; without those that this runner has no longer."""
        firsts = {segment.first_hash for segment in group}
        return [segment for segment in self.mine if segment.first_hash in firsts]

    async def release(self, repeats_up_to: int) -> None:
        """Give up all segments, so that other runners acquire them at once and not when the leases expire.

        Args:
            repeats_up_to: as for `Segments.release`.
        """
        await self._segments.leave(self.mine, repeats_up_to)

    async def _verify(self, segments: Sequence[Segment]) -> None:
        for position, event_id in {segment.checkpoint for segment in segments}:
            if event_id is not None:
                await verify_position(self._store, self._reader_name, position, event_id)

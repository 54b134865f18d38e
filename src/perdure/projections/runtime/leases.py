"""Who works on which segment: each process that runs a build gets its fair share, and takes over from those that died.

Each process says every moment that it is there, and looks who else is. All come to the same shares by the same sum, and
each acts for itself: who has more than its share gives the rest back between two batches, who has less takes what is
free. When there are fewer segments than processes, owners cut theirs in two.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.projections.state.segments import MOST_SEGMENTS, Segment, Segments


class Leases:
    """The share that one process has of a build's segments.

    Args:
        segments: the segments of the build.
        runner: the name of this process's run of it.
        least: how many segments there should be at least.
        most: how many there may be; one where the build can't be cut.
    """

    def __init__(self, segments: Segments, runner: str, least: int, most: int = MOST_SEGMENTS) -> None:
        self._segments = segments
        self._runner = runner
        self._least = least
        self._most = most

    async def beat(self, rate: float, trouble: str | None) -> list[Segment]:
        """Keep the share, or come closer to it. Returns all segments of the build. Between two batches only."""
        heard, segments = await self._segments.heartbeat(rate, trouble)
        if not segments:
            return []  # the build was dropped
        # One that stood still since it said that it is there isn't among those who are heard of.
        runners = sorted({*heard, self._runner})
        if await self._balance(runners, segments):
            return await self._segments.read()
        return segments

    def mine(self, segments: Sequence[Segment]) -> list[Segment]:
        """Those of this process."""
        return [segment for segment in segments if segment.owner == self._runner]

    async def _balance(self, runners: Sequence[str], segments: Sequence[Segment]) -> bool:
        """Do what brings this process closer to its share. Returns whether anything was done."""
        mine = self.mine(segments)
        share = share_of(self._runner, runners, len(segments))
        if len(mine) > share:
            await self._segments.release(mine[share:])
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
    """How many of the segments are a runner's: as many as any other's, and one more for the first of them."""
    share, more = divmod(segments, len(runners))
    return share + (runners.index(runner) < more)

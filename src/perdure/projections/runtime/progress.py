"""Waits until the rows that a projection shows have reached a position."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from perdure.errors import LogDivergedError, PerdureError, ProjectionPausedError, ProjectionTimeoutError
from perdure.projections.state.failures import EventFailure


class SegmentProgress(Protocol):
    """How far a segment is."""

    @property
    def global_position(self) -> int:
        """Its rows show everything up to this position."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether it waits for `resume`."""
        ...

    @property
    def failure(self) -> EventFailure | None:
        """The event that it is paused before, and why; None if an operator paused it."""
        ...


class BuildProgress(NamedTuple):
    """How far a build is, as far as this process knows."""

    global_position: int
    """All segments have reached this position."""
    segments: Sequence[SegmentProgress]
    error: str | None
    """Why its runner doesn't go on, other than an event; None if nothing is wrong."""
    diverged: LogDivergedError | None = None
    """Set while the log lacks the event of a checkpoint: the rows may show events that are gone."""


class ProgressSource(Protocol):
    """Reads the progress of the build that the views of a projection show."""

    async def read(self) -> BuildProgress:
        """Read the progress."""
        ...

    async def is_current(self) -> bool:
        """Return whether the views still show the build whose progress was read last."""
        ...

    async def wait(self, timeout: float) -> None:
        """Return when there may be news since the last reading, after `timeout` seconds at the latest."""
        ...


async def wait_until_reached(source: ProgressSource, name: str, position: int, timeout: float) -> None:
    """Wait until the rows that a projection shows hold all events up to a position.

    The outcome, success or error, is that of the build which the views show at this moment. If they show another one
    than before, which may be behind or ahead, the wait goes on with that build.

    Args:
        source: reads the progress.
        name: the name of the projection, for errors.
        position: the position.
        timeout: how many seconds to wait at most.

    Raises:
        ProjectionTimeoutError: the rows didn't reach the position in time.
        ProjectionPausedError: a segment is paused before the position.
        LogDivergedError: the log lacks the event of a checkpoint.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while True:
        progress = await source.read()
        reached, remaining = progress.global_position, deadline - clock()
        error: PerdureError | None = None
        if reached < position:
            error = _paused(name, progress.segments, position) or progress.diverged
            if error is None and remaining > 0:
                await source.wait(remaining)
                continue
        if await source.is_current():
            if reached >= position:
                return
            raise error or ProjectionTimeoutError(name, position, reached, timeout, progress.error)


def _paused(name: str, segments: Sequence[SegmentProgress], position: int) -> ProjectionPausedError | None:
    for segment in segments:
        if segment.is_paused and segment.global_position < position:
            failure = segment.failure
            where = failure.global_position if failure else segment.global_position + 1
            reason = f"{failure.error_type}: {failure.message}" if failure else "an operator paused it"
            return ProjectionPausedError(name, where, reason)
    return None

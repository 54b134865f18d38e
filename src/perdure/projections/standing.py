"""Tells the observer, from time to time, how projections are: their lag grows also while nothing happens to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from perdure.errors import PerdureError
from perdure.observation import ProjectionStanding, keys, observer, tell
from perdure.projections.status import ProjectionStatus

logger = logging.getLogger("perdure.projections")

EVERY: Final = 5.0


async def tell_standing(look: Callable[[], Awaitable[Sequence[ProjectionStatus]]], every: float = EVERY) -> None:
    """Tell every few seconds how the projections are, as long as somebody observes. Runs until cancelled.

    Args:
        look: asks the database how they are.
        every: how many seconds lie between two looks.
    """
    while True:
        if observer() is not None:
            try:
                for status in await look():
                    tell(_standing(status))
            except PerdureError as error:
                # The database is down: what follows the log says so, too.
                logger.debug("can't see how the projections are: %s", error, extra=keys(error, operation="standing"))
        await asyncio.sleep(every)


def _standing(status: ProjectionStatus) -> ProjectionStanding:
    return ProjectionStanding(
        status.name,
        status.version,
        status.build,
        running=status.state == "running",
        lag=status.lag,
        lag_seconds=status.lag_seconds,
        parked=status.failed + status.waiting,
    )

"""What a runner tells the log and the observer of what befalls it. Never a key or a value: they may be personal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from perdure.errors import DatabaseError, PerdureError
from perdure.observation import EventsParked, Keys, ProjectionFailed, ProjectionProgress, keys, observer, report_fact
from perdure.outage import Outage
from perdure.projections.state.failures import Failure, type_of
from perdure.projections.state.identity import BuildId
from perdure.projections.state.scope import Diverted
from perdure.projections.state.status import ProjectionStatus

logger = logging.getLogger("perdure.projections")


class Telling:
    """Tells of one build.

    Args:
        build: which.
    """

    def __init__(self, build: BuildId) -> None:
        self._build = build
        self._outage = Outage(logger, f"projection {build.name!r}")

    def fenced(self) -> None:
        """A batch wasn't written, for a segment is somebody else's by now, or paused."""
        logger.debug(
            "projection %r: a segment was moved by somebody else",
            self._build.name,
            extra=keys(**self._which()),
        )

    def failed(self, failure: Failure, attempts: int, most: int) -> None:
        """An event can't be taken; it is tried again unless that was the last attempt."""
        stored, error, _ = failure
        report_fact(ProjectionFailed(*self._build, stored, error))
        logger.warning(
            "projection %r can't take event %s (%s) at position %d, attempt %d of %d: %s",
            self._build.name,
            stored.event_id,
            stored.event_type,
            stored.global_position,
            attempts,
            most,
            type_of(error).__qualname__,
            extra=keys(failure.error, **self._about(failure, attempts)),
        )

    def parks(self, failure: Failure, attempts: int) -> None:
        """An event is put aside."""
        logger.error(
            "projection %r parks event %s, and what comes after it for the same row; mend the cause and retry it",
            self._build.name,
            failure.stored.event_id,
            exc_info=_showable(failure.error),
            extra=keys(failure.error, **self._about(failure, attempts)),
        )

    def parked(self, diverted: Sequence[Diverted]) -> None:
        """Events were put aside."""
        if diverted:
            report_fact(EventsParked(*self._build, len(diverted)))

    def paused(self, failure: Failure, attempts: int) -> None:
        """Nothing more is taken, in one segment at least."""
        logger.error(
            "projection %r is paused; mend the cause and resume it",
            self._build.name,
            exc_info=_showable(failure.error),
            extra=keys(failure.error, **self._about(failure, attempts)),
        )

    def troubled(self, error: Exception, pause: float) -> None:
        """Something is wrong that isn't an event's fault; it is waited out."""
        about: Keys = {**self._which(), "pause": pause}
        self._outage.failed(self, error, **about)

    def well(self) -> None:
        """Nothing is wrong, or nothing any more."""
        self._outage.succeeded(self, **self._which())

    def _about(self, failure: Failure, attempts: int) -> Keys:
        stored = failure.stored
        return {
            **self._which(),
            "event_id": stored.event_id,
            "event_type": stored.event_type,
            "global_position": stored.global_position,
            "attempts": attempts,
        }

    def _which(self) -> Keys:
        name, version, build = self._build
        return {
            "operation": "projection_batch",
            "projection": name,
            "projection_version": version,
            "projection_build": build,
        }


def _showable(error: Exception) -> Exception | None:
    """The error, unless it quotes a row of the database; the record of the failure has it in any case."""
    return None if isinstance(error, DatabaseError) else error


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
                    report_fact(_standing(status))
            except PerdureError as error:
                # The database is down: what follows the log says so, too.
                logger.debug("can't see how the projections are: %s", error, extra=keys(error, operation="standing"))
        await asyncio.sleep(every)


def _standing(status: ProjectionStatus) -> ProjectionProgress:
    return ProjectionProgress(
        status.name,
        status.version,
        status.build,
        running=status.state == "running",
        lag=status.lag,
        lag_seconds=status.lag_seconds,
        parked=status.failed + status.waiting,
    )

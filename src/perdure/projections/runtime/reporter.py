"""Log records and metrics of a runner. They contain no key and no value, which may be personal data."""

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
from perdure.projections.state.options import Kind
from perdure.projections.state.scope import DivertedEvent
from perdure.projections.state.status import ProjectionStatus

logger = logging.getLogger("perdure.projections")

_STATUS_INTERVAL: Final = 5.0
"""Seconds between two readings of the status, for metrics."""


class Reporter:
    """Reports what happens to one build.

    Args:
        build: the build.
        kind: what it is.
    """

    def __init__(self, build: BuildId, kind: Kind = "projection") -> None:
        self._build = build
        self._kind = kind
        self._outage = Outage(logger, f"{kind} {build.name!r}")

    def fenced(self) -> None:
        """A batch wrote nothing: another runner leases the segment by now, or it is paused."""
        logger.debug("%s %r: a batch was fenced off", self._kind, self._build.name, extra=keys(**self._identity()))

    def failed(self, failure: Failure, attempts: int, most: int | None) -> None:
        """An event failed. It is tried again unless this was the last attempt."""
        stored, error, _ = failure
        report_fact(ProjectionFailed(*self._build, stored, error))
        logger.warning(
            "%s %r can't process event %s (%s) at position %d, attempt %d%s: %s",
            self._kind,
            self._build.name,
            stored.event_id,
            stored.event_type,
            stored.global_position,
            attempts,
            "" if most is None else f" of {most}",
            type_of(error).__qualname__,
            extra=keys(error, **self._details(failure, attempts)),
        )

    def parks(self, failure: Failure, attempts: int) -> None:
        """An event is going to be parked."""
        logger.error(
            "%s %r parks event %s, and later events for the same key; fix the cause and retry it",
            self._kind,
            self._build.name,
            failure.stored.event_id,
            exc_info=_loggable(failure.error),
            extra=keys(failure.error, **self._details(failure, attempts)),
        )

    def parked(self, diverted: Sequence[DivertedEvent]) -> None:
        """Events were parked."""
        if diverted:
            report_fact(EventsParked(*self._build, len(diverted)))

    def paused(self, failure: Failure, attempts: int) -> None:
        """At least one segment is paused."""
        logger.error(
            "%s %r is paused; fix the cause and resume it",
            self._kind,
            self._build.name,
            exc_info=_loggable(failure.error),
            extra=keys(failure.error, **self._details(failure, attempts)),
        )

    def backs_off(self, error: Exception, pause: float) -> None:
        """The runner backs off after an error that isn't an event's."""
        details: Keys = {**self._identity(), "pause": pause}
        self._outage.failed(self, error, **details)

    def recovered(self) -> None:
        """The runner works, or works again."""
        self._outage.succeeded(self, **self._identity())

    def _details(self, failure: Failure, attempts: int) -> Keys:
        stored = failure.stored
        return {
            **self._identity(),
            "event_id": stored.event_id,
            "event_type": stored.event_type,
            "global_position": stored.global_position,
            "attempts": attempts,
        }

    def _identity(self) -> Keys:
        name, version, build = self._build
        return {
            "operation": "projection_batch",
            "projection": name,
            "projection_version": version,
            "projection_build": build,
        }


def _loggable(error: Exception) -> Exception | None:
    """The error, unless it quotes a row of the database. The status shows the whole error in any case."""
    return None if isinstance(error, DatabaseError) else error


async def report_status(
    read: Callable[[], Awaitable[Sequence[ProjectionStatus]]], interval: float = _STATUS_INTERVAL
) -> None:
    """Report the status of projections as metrics while there is an observer. Runs until it is cancelled.

    Args:
        read: reads the status from the database.
        interval: seconds between two readings.
    """
    while True:
        if observer() is not None:
            try:
                for status in await read():
                    report_fact(_metrics(status))
            except PerdureError as error:
                # The store logs that its database is down, once.
                logger.debug("can't read the status of projections: %s", error, extra=keys(error, operation="status"))
        await asyncio.sleep(interval)


def _metrics(status: ProjectionStatus) -> ProjectionProgress:
    return ProjectionProgress(
        status.name,
        status.version,
        status.build,
        running=status.state == "running",
        lag=status.lag,
        lag_seconds=status.lag_seconds,
        parked=status.failed + status.waiting,
    )

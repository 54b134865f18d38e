"""Observation of Perdure: operations, which begin and end, and facts. Without an observer, it costs almost nothing.

`perdure.telemetry` is an observer for OpenTelemetry. For other uses, pass your own `Observer` to `observe`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any, ClassVar, Literal, Required, Self, TypedDict, Unpack
from uuid import UUID

import msgspec

from perdure.events import StoredEvent

logger = logging.getLogger("perdure.observation")


_NO_HEADERS: Mapping[str, str] = {}


class Observer:
    """Receives operations and facts. Override the methods that you need.

    Perdure calls it during its work, in the event loop, so its methods must be quick and must not block. Their errors
    are logged, and the work continues.

    Example:
        class Conflicts(Observer):
            def ended(self, operation: Operation, mark: object, error: BaseException | None) -> None:
                if isinstance(error, OptimisticConcurrencyError):
                    print("a conflict in", error.stream_id)

        observe(Conflicts())
    """

    def began(self, operation: Operation) -> Any:
        """An operation begins, in the task of its caller. The result is passed to `ended` as `mark`."""

    def ended(self, operation: Operation, mark: Any, error: BaseException | None) -> None:
        """An operation ended, with an error or None. Its attributes now have their final values."""

    def happened(self, fact: Fact) -> None:
        """A fact was reported."""

    def headers(self) -> Mapping[str, str]:
        """Return headers for the events of the current append. An event's own headers override them."""
        return {}


def observe(observer: Observer | None) -> None:
    """Set the observer of this process, in place of the one before. None removes it."""
    _Observed.by = observer


def observer() -> Observer | None:
    """Return the observer of this process, or None."""
    return _Observed.by


class Operation(msgspec.Struct, eq=False, kw_only=True, gc=False):
    """Work that takes time: the content of its ``with`` block."""

    name: ClassVar[str]
    """Its name in spans and metrics."""
    _observer: Observer | None = None
    _mark: Any = None

    def __enter__(self) -> Self:
        if _Observed.by is not None:
            self._begin(_Observed.by)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        observer, mark = self._observer, self._mark
        if observer is not None:
            self._observer = self._mark = None
            try:
                observer.ended(self, mark, error)
            except Exception:
                logger.exception("an observer failed", extra=keys(operation=self.name))

    def _begin(self, observer: Observer) -> None:
        try:
            self._mark = observer.began(self)
            self._observer = observer
        except Exception:
            logger.exception("an observer failed", extra=keys(operation=self.name))


class Append(Operation):
    """An append to a stream.

    Attributes:
        store: The store.
        stream_id: The stream.
        events: The number of events; 0 until they are encoded.
        stream_version: The version of the stream afterwards; 0 until it is known.
        global_position: The position of the last event in the log; 0 until it is known.
        sharing: The contexts of the other callers whose commands are in it.
    """

    name = "append"
    store: object
    stream_id: str
    events: int = 0
    stream_version: int = 0
    global_position: int = 0
    sharing: Sequence[Context] = ()


class AppendToStreams(Operation):
    """An append to several streams, all or none.

    Attributes:
        store: The store.
        events: The number of events for each stream; empty until they are encoded.
        global_position: The position of the last event in the log; 0 until it is known.
    """

    name = "append_to_streams"
    store: object
    events: Mapping[str, int] = {}
    global_position: int = 0


class Load(Operation):
    """The load of an aggregate from its events.

    Attributes:
        store: The store.
        stream_id: The stream.
        events: The number of events applied after the snapshot or the cached state.
        snapshot: Whether a snapshot was used; None if snapshots are off, or the state was cached.
        cache: Whether the state was cached; None if there is no cache, or a state of the past was asked for.
    """

    name = "load"
    store: object
    stream_id: str
    events: int = 0
    snapshot: Literal["hit", "miss"] | None = None
    cache: Literal["hit", "miss"] | None = None


class Execute(Operation):
    """A command that runs and is saved, and runs again after each conflict.

    Attributes:
        stream_id: The stream of the aggregate; None if there may be several.
        exclusive: Whether the stream is locked meanwhile.
        attempts: The number of attempts to save.
    """

    name = "execute"
    stream_id: str | None
    exclusive: bool = False
    attempts: int = 0


class ProjectionBatch(Operation):
    """A batch of a projection: consecutive events of the log, whose rows and checkpoint are one transaction.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        events: The events of the batch.
        done: How many of them, from the first, are written.
    """

    name = "projection_batch"
    projection: str
    projection_version: int
    projection_build: int
    events: Sequence[StoredEvent]
    done: int = 0


class Deliver(Operation):
    """A call of a reaction's handler, or of a broker for some events.

    Attributes:
        reaction: The name of the reaction or relay.
        events: The events.
        delivered: How many of them were delivered; the others failed.
    """

    name = "deliver"
    reaction: str
    events: Sequence[StoredEvent]
    delivered: int = 0


class Fact(msgspec.Struct, eq=False, frozen=True):
    """Something that happened at a point in time."""


class AppendBatch(Fact, eq=False, frozen=True):
    """A group commit: appends of several callers were sent to the database together.

    Attributes:
        commits: The number of appends.
        events: The number of their events.
        repeated: The number of appends to be sent again.
        queued: The number of events in the queue or being sent afterwards.
        seconds: The duration.
    """

    commits: int
    events: int
    repeated: int
    queued: int
    seconds: float


class ProjectionFailed(Fact, eq=False, frozen=True):
    """A projection failed on an event. The event is retried or parked, or the projection is paused.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        stored: The event.
        error: The error of the projection or the database.
    """

    projection: str
    projection_version: int
    projection_build: int
    stored: StoredEvent
    error: BaseException


class EventsParked(Fact, eq=False, frozen=True):
    """A projection parked events: those that failed, and those that must wait behind a failed one.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        count: The number of events.
    """

    projection: str
    projection_version: int
    projection_build: int
    count: int


class ProjectionProgress(Fact, eq=False, frozen=True):
    """The progress of a projection. Each service that runs it reports this every few seconds.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        running: Whether all of it is running; False if at least a part is paused.
        lag: The number of positions that it is behind the log.
        lag_seconds: How long the next event has been in the log.
        parked: The number of parked events, including those that wait behind others.
    """

    projection: str
    projection_version: int
    projection_build: int
    running: bool
    lag: int
    lag_seconds: float
    parked: int


class TimersFired(Fact, eq=False, frozen=True):
    """Timers of processes became events.

    Attributes:
        count: The number of timers.
        seconds: For how long the first of them was due.
    """

    count: int
    seconds: float


class TimersDue(Fact, eq=False, frozen=True):
    """The timers that are due and haven't fired. Each service that fires timers reports this every few seconds.

    Attributes:
        count: The number of timers, counted up to 10,000.
        seconds: For how long the first of them has been due.
    """

    count: int
    seconds: float


def report_fact(fact: Fact) -> None:
    """Pass a fact to the observer, if there is one."""
    observer = _Observed.by
    if observer is not None:
        try:
            observer.happened(fact)
        except Exception:
            logger.exception("an observer failed", extra=keys(operation="observe"))


def observed_headers() -> Mapping[str, str]:
    """Return the headers of the observer for the events of the current append."""
    observer = _Observed.by
    if observer is not None:
        try:
            return observer.headers()
        except Exception:
            logger.exception("an observer failed", extra=keys(operation="observe"))
    return _NO_HEADERS


class Keys(TypedDict, total=False):
    """Attributes of a log record. Their names get the prefix ``perdure.``, as in spans and metrics."""

    operation: Required[str]
    """The name of the `Operation`, or of a part of one."""
    stream_id: str
    """The category is added, too."""
    projection: str
    projection_version: int
    projection_build: int
    event_id: UUID
    event_type: str
    global_position: int
    appends: int
    """The number of appends."""
    attempts: int
    pause: float
    """Seconds until the next attempt."""
    outage: float
    """The duration of an outage in seconds."""


def keys(error: BaseException | None = None, **known: Unpack[Keys]) -> dict[str, object]:
    """Return the ``extra`` of a log record, with the attribute names of spans and metrics."""
    named: dict[str, object] = {f"perdure.{name}": value for name, value in known.items()}
    if "stream_id" in known:
        named["perdure.category"] = known["stream_id"].partition("-")[0]
    if error is not None:
        named["error.type"] = type(error).__qualname__
    return named


class _Observed:
    by: ClassVar[Observer | None] = None

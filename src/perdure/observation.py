"""What can be observed of Perdure: operations, which begin and end, and facts. Unobserved, it costs next to nothing.

`perdure.telemetry` observes for OpenTelemetry. To do something else with it, give `observe` an `Observer` of your own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Required, Self, TypedDict, Unpack
from uuid import UUID

import msgspec

from perdure.events import StoredEvent

logger = logging.getLogger("perdure.observation")


_NO_HEADERS: Mapping[str, str] = {}


class Observer:
    """Is told what Perdure does: override what you want to hear of.

    It is called in the middle of the work, in its event loop, so it must be quick and never wait. What it raises is
    logged, and the work goes on.

    Example:
        class Conflicts(Observer):
            def ended(self, operation: Operation, mark: object, error: BaseException | None) -> None:
                if isinstance(error, OptimisticConcurrencyError):
                    print("a conflict in", error.stream_id)

        observe(Conflicts())
    """

    def began(self, operation: Operation) -> Any:
        """An operation begins, in the task of who asked for it. What this returns comes back to `ended` as `mark`."""

    def ended(self, operation: Operation, mark: Any, error: BaseException | None) -> None:
        """An operation ended, by this error if there is one. What it learnt meanwhile is in its attributes."""

    def happened(self, fact: Fact) -> None:
        """Something happened that has no length."""

    def headers(self) -> Mapping[str, str]:
        """Headers for the events that are appended now; those that an event has of its own count for more."""
        return {}


def observe(observer: Observer | None) -> None:
    """Tell this observer from now on what happens in this process, instead of the one before; None: nobody."""
    _Observed.by = observer


def observer() -> Observer | None:
    """Who is told what happens in this process; None: nobody."""
    return _Observed.by


class Operation(msgspec.Struct, eq=False, kw_only=True, gc=False):
    """Something that takes time: what its ``with`` block holds."""

    name: ClassVar[str]
    """What it is called in spans and metrics."""
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
    """Events are appended to a stream.

    Attributes:
        store: The store.
        stream_id: The stream.
        events: How many events; 0 until they are encoded.
        stream_version: The version of the stream after it; 0 until it is known.
        global_position: The place of the last event in the whole log; 0 until it is known.
    """

    name = "append"
    store: object
    stream_id: str
    events: int = 0
    stream_version: int = 0
    global_position: int = 0


class AppendToStreams(Operation):
    """Events are appended to several streams, all or none.

    Attributes:
        store: The store.
        events: How many events each stream is given; empty until they are encoded.
        global_position: The place of the last event in the whole log; 0 until it is known.
    """

    name = "append_to_streams"
    store: object
    events: Mapping[str, int] = {}
    global_position: int = 0


class Load(Operation):
    """An aggregate is made from its events.

    Attributes:
        store: The store.
        stream_id: The stream.
        events: How many events were applied, those of the snapshot aside.
        snapshot: Whether one was of use; None where there are none.
    """

    name = "load"
    store: object
    stream_id: str
    events: int = 0
    snapshot: Literal["hit", "miss"] | None = None


class Execute(Operation):
    """A command is decided and saved, and decided again after each conflict.

    Attributes:
        stream_id: The stream of the aggregate; None where there may be several.
        attempts: How often it was tried to save.
    """

    name = "execute"
    stream_id: str | None
    attempts: int = 0


class ProjectionBatch(Operation):
    """A projection takes events that follow each other in the log: rows and checkpoint in one transaction.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        events: What it takes.
        done: How many of them are written, from the first on.
    """

    name = "projection_batch"
    projection: str
    projection_version: int
    projection_build: int
    events: Sequence[StoredEvent]
    done: int = 0


class Fact(msgspec.Struct, eq=False, frozen=True):
    """Something that happened, and has no length."""


class AppendBatch(Fact, eq=False, frozen=True):
    """Appends of several callers were sent to the database together.

    Attributes:
        commits: How many appends.
        events: How many events they hold.
        repeated: How many of the appends must be tried again.
        queued: How many events wait, or are under way, after it.
        seconds: How long it took.
    """

    commits: int
    events: int
    repeated: int
    queued: int
    seconds: float


class ProjectionFailed(Fact, eq=False, frozen=True):
    """A projection can't take an event: it is tried again, or parked, or the projection is paused.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        stored: The event.
        error: What it, or the database, raised.
    """

    projection: str
    projection_version: int
    projection_build: int
    stored: StoredEvent
    error: BaseException


class EventsParked(Fact, eq=False, frozen=True):
    """A projection goes on without events that it can't take, or that must wait behind such an event.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        count: How many events.
    """

    projection: str
    projection_version: int
    projection_build: int
    count: int


class ProjectionProgress(Fact, eq=False, frozen=True):
    """How a projection is: told every few seconds by each service that runs it.

    Attributes:
        projection: Its name.
        projection_version: Its version.
        projection_build: Which build of that version.
        running: Whether it goes on; if not, it is paused at least in part.
        lag: How many positions of the log are still to come.
        lag_seconds: For how long the first of these has been in the log.
        parked: How many events are parked, those included that wait behind others.
    """

    projection: str
    projection_version: int
    projection_build: int
    running: bool
    lag: int
    lag_seconds: float
    parked: int


def report_fact(fact: Fact) -> None:
    """Tell the observer, if there is one."""
    observer = _Observed.by
    if observer is not None:
        try:
            observer.happened(fact)
        except Exception:
            logger.exception("an observer failed", extra=keys(operation="observe"))


def observed_headers() -> Mapping[str, str]:
    """Headers that the observer wants in the events that are appended now."""
    observer = _Observed.by
    if observer is not None:
        try:
            return observer.headers()
        except Exception:
            logger.exception("an observer failed", extra=keys(operation="observe"))
    return _NO_HEADERS


class Keys(TypedDict, total=False):
    """What a log record tells, under these names with ``perdure.`` before them, as spans and metrics do."""

    operation: Required[str]
    """What is being done, as an `Operation` is called, or something inside."""
    stream_id: str
    """Its category is told with it."""
    projection: str
    projection_version: int
    projection_build: int
    event_id: UUID
    event_type: str
    global_position: int
    appends: int
    """How many appends it concerns."""
    attempts: int
    pause: float
    """Seconds until the next try."""
    outage: float
    """Seconds that an outage lasted."""


def keys(error: BaseException | None = None, **known: Unpack[Keys]) -> dict[str, object]:
    """The ``extra`` of a log record: the names under which spans and metrics tell the same."""
    named: dict[str, object] = {f"perdure.{name}": value for name, value in known.items()}
    if "stream_id" in known:
        named["perdure.category"] = known["stream_id"].partition("-")[0]
    if error is not None:
        named["error.type"] = type(error).__qualname__
    return named


class _Observed:
    by: ClassVar[Observer | None] = None

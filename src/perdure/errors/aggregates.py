"""Aggregates: their definition, lookup and use."""

from __future__ import annotations

from perdure.errors.formats import path_of
from perdure.errors.roots import PerdureError


class AggregateNotFoundError(PerdureError, LookupError):
    """The aggregate has no stream. `Repository.load` returns None instead."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"there is no stream {stream_id!r}; use load() where it may be missing")
        self.stream_id = stream_id


class AggregateDefinitionError(PerdureError, TypeError):
    """An aggregate class is invalid. Raised when the class is defined."""

    def __init__(self, cls: type, reason: str) -> None:
        super().__init__(f"{cls.__qualname__} can't be an aggregate: {reason}")
        self.cls = cls
        self.reason = reason


class AggregateBusyError(PerdureError, RuntimeError):
    """An aggregate is in use: another task saves this instance with retry, or a command was queued too long.

    In both cases, nothing was written. A command that waited (`is_transient`) may succeed later.

    Attributes:
        stream_id: the stream of the aggregate.
        seconds: how long the command waited; None if another task saves the instance.
    """

    def __init__(self, stream_id: str, seconds: float | None = None) -> None:
        super().__init__(
            f"{stream_id!r} is being saved with retry: await that first, or load another instance with Repository.load"
            if seconds is None
            else f"a command waited for {seconds:.2f} s behind others on {stream_id!r}, and nothing was written: "
            "try again later, allow more time with RetryConfig(max_seconds=...), or call it less often"
        )
        self.stream_id = stream_id
        self.seconds = seconds
        self.is_transient = seconds is not None


class UnhandledEventError(PerdureError, LookupError):
    """A strict aggregate or decider handles no such event. Nothing was changed or written.

    Args:
        cls: the class of aggregates.
        event_class: the class of the event.
        stream_id: the stream of the aggregate.
        stream_version: the version of the event in its stream.
    """

    def __init__(
        self, cls: type, event_class: type, stream_id: str, stream_version: int, fix: str | None = None
    ) -> None:
        super().__init__(
            f"{path_of(event_class)} (version {stream_version} of {stream_id!r}) isn't handled by {cls.__qualname__}, "
            f"which is strict: {fix or 'add a method with @handles for it, which may do nothing'}"
        )
        self.cls = cls
        self.event_class = event_class
        self.stream_id = stream_id
        self.stream_version = stream_version


class UnknownAggregateError(PerdureError, LookupError):
    """An `Application` has no such aggregate: add it to its `aggregates`.

    Attributes:
        aggregate: the class or the decider, by name.
        category: its category.
        owner: the class or the decider of this category in the application; None if there is none.
    """

    def __init__(self, aggregate: str, category: str, owner: str | None = None) -> None:
        super().__init__(
            f"{aggregate} isn't in the application: add it to the list in Application(aggregates=[...])"
            if owner is None
            else f"{aggregate} isn't in the application, because the streams of category {category!r} "
            f"belong to {owner}: ask for the repository of that one, or give one of them another category"
        )
        self.aggregate = aggregate
        self.category = category
        self.owner = owner

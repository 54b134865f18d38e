"""Aggregates: their definition, lookup and use."""

from __future__ import annotations

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
    """An aggregate is used while another task saves it, which may run its commands again."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(
            f"{stream_id!r} is being saved with retry: await that first, or load another instance with Repository.load"
        )
        self.stream_id = stream_id

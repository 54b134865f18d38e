"""Read models: projections, their tables and rows."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from perdure.errors.formats import shown
from perdure.errors.roots import PerdureError


class ProjectionDefinitionError(PerdureError, TypeError):
    """A projection can't work as it is written. Raised where it is defined, or when the service starts."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"projection {shown(name)} can't run: {reason}")
        self.name = name
        self.reason = reason


class ProjectionShapeError(ProjectionDefinitionError):
    """The tables of a projection changed without a new `version`. `differences` says in what."""

    def __init__(self, name: str, differences: Sequence[str]) -> None:
        super().__init__(name, f"its tables were made otherwise ({'; '.join(differences)}): give it a new version")
        self.differences = tuple(differences)


class ProjectionRowError(PerdureError, ValueError):
    """A row that a handler returned, or the key that an event gives, can't be stored as it is."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"{table!r} can't take the row: {reason}")
        self.table, self.reason = table, reason


class ChildNotLoadedError(PerdureError, LookupError):
    """A handler asked for a child row that wasn't loaded for its event. Name its key in the `keys` of `child_table`."""

    def __init__(self, child: str, key: object) -> None:
        super().__init__(f"{child!r}: row {shown(key)} isn't loaded for this event: name it in child_table(keys=...)")
        self.child, self.key = child, key


class UnknownProjectionError(PerdureError, LookupError):
    """No projection of that name is run here."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no projection {shown(name)} here; there are: {', '.join(known) or 'none'}")
        self.name = name
        self.known = tuple(known)


class ProjectionPausedError(PerdureError):
    """A projection is paused: an event failed. Mend the cause, then resume it."""

    def __init__(self, name: str, global_position: int, error: str) -> None:
        super().__init__(
            f"projection {name!r} is paused before position {global_position}: {error}; "
            f"mend the cause, then call resume({name!r})"
        )
        self.name = name
        self.global_position = global_position
        self.error = error


class InlineProjectionError(PerdureError):
    """A projection that is kept inline can't take an event, so nothing was appended. `__cause__` is what went wrong."""

    def __init__(self, name: str, stream_id: str, stream_version: int, event_type: str, error: Exception) -> None:
        super().__init__(
            f"nothing was appended: projection {name!r} can't take {event_type}, version {stream_version} of "
            f"{stream_id!r}: {shown(error)}"
        )
        self.name = name
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.event_type = event_type


class ProjectionTransactionError(PerdureError):
    """SQL of a handler would have ended the transaction of its batch, or has done so; or `tx` was used too late.

    Attributes:
        reason: What happened, and what to do.
        global_position, event_id, event_type: The event whose handler it was; where a handler takes several events, the
            first of them.
    """

    def __init__(self, reason: str, global_position: int, event_id: UUID, event_type: str) -> None:
        super().__init__(f"handling event {event_id} ({event_type}) at position {global_position}: {reason}")
        self.reason = reason
        self.global_position = global_position
        self.event_id = event_id
        self.event_type = event_type


class UserCodeError(PerdureError):
    """Code of yours raised something that is no `Exception`, as a Rust extension does that panics, or `CancelledError`.

    It stands for what was raised, its `__cause__`, so that nothing takes that for the end of a task.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"your code raised {shown(error)}, which is no Exception: mend it, or catch that there")


class ProjectionTimeoutError(PerdureError, TimeoutError):
    """A projection didn't reach a position in time.

    `lag` is the number of positions still to come, `trouble` what keeps the projection from going on, if it is known.
    """

    def __init__(
        self, name: str, global_position: int, reached: int, timeout: float, trouble: str | None = None
    ) -> None:
        super().__init__(
            f"projection {name!r} stood at {reached} after {timeout:g} s, "
            f"{global_position - reached} positions short of {global_position}: "
            + (f"it tries again and again, for {trouble}" if trouble else "is its service running?")
        )
        self.name = name
        self.global_position = global_position
        self.reached = reached
        self.lag = global_position - reached
        self.timeout = timeout
        self.trouble = trouble

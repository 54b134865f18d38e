"""The tree of errors.

Everything that Perdure raises stands under `PerdureError`. An error carries its data as attributes, and its message
says what happened and what to do next. `DomainError`, the base of a user's own business rules, stands outside the tree,
so that ``except PerdureError`` never swallows a business rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any
from uuid import UUID


class DomainError(Exception):
    """A business rule was broken. Raise it, or a subclass, from commands.

    Example:
        >>> raise DomainError("user is already registered")
        Traceback (most recent call last):
        ...
        perdure.errors.DomainError: user is already registered
    """


class PerdureError(Exception):
    """The root of all errors that Perdure raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message, which is not what our constructors take.
        return (type(self).__new__, (type(self), *self.args), self.__dict__)


# --- Bad input: told before anything is written -----------------------------------------------------------------------


class InvalidArgumentError(PerdureError, ValueError):
    """An argument can't be used. `argument` names it, `reason` says why."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument} {reason}")
        self.argument = argument
        self.reason = reason


class InvalidStreamIdError(InvalidArgumentError):
    """A stream id is not of the form ``category-id``, or holds what PostgreSQL can't store."""

    def __init__(self, stream_id: object, reason: str) -> None:
        super().__init__("stream_id", f"{_shown(stream_id)} {reason}; a stream id is 'category-id', as in 'user-123'")
        self.stream_id = stream_id


class EventDefinitionError(PerdureError, TypeError):
    """A class can't be used as an event. Raised where the class is defined."""

    def __init__(self, cls: type, reason: str) -> None:
        super().__init__(f"{cls.__qualname__} can't be an event: {reason}")
        self.cls = cls
        self.reason = reason


class DuplicateEventTypeError(PerdureError):
    """Two classes ask for one event type. Give one of them another name."""

    def __init__(self, event_type: str, existing: type, cls: type) -> None:
        super().__init__(
            f"event type {event_type!r} belongs to {_path(existing)} already; {_path(cls)} needs another name"
        )
        self.event_type = event_type
        self.existing = existing
        self.cls = cls


class UnregisteredEventError(PerdureError, TypeError):
    """An object was given as an event whose class bears no ``@event``."""

    def __init__(self, cls: type) -> None:
        super().__init__(f"{_path(cls)} is not an event: decorate it with @event('category.what_happened')")
        self.cls = cls


class EventEncodingError(PerdureError, ValueError):
    """An event holds a value that can't be stored, or that couldn't be read back. Nothing was written."""

    def __init__(self, event_type: str, reason: str) -> None:
        super().__init__(f"event {event_type!r} can't be stored: {reason}")
        self.event_type = event_type
        self.reason = reason


class PayloadTooLargeError(PerdureError, ValueError):
    """An event is over the store's limit (`payload_limit` bytes). Nothing was written."""

    def __init__(self, event_type: str, size: int, limit: int) -> None:
        super().__init__(
            f"event {event_type!r} takes {size:,} bytes, over the limit of {limit:,}: "
            "store large content elsewhere and its address in the event, or raise payload_limit"
        )
        self.event_type = event_type
        self.size = size
        self.limit = limit


# --- Reading what is stored -------------------------------------------------------------------------------------------


class UnknownEventTypeError(PerdureError):
    """A stored event's type has no class here. Its raw data stays readable in `StoredEvent.event_data`."""

    def __init__(self, event_type: str, stream_id: str, stream_version: int) -> None:
        super().__init__(
            f"event type {event_type!r} (version {stream_version} of {stream_id!r}) has no class here: "
            "import the module that defines it, or define it again with @event"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version


class EventDecodingError(PerdureError):
    """A stored event doesn't fit its class. Its raw data stays readable in `StoredEvent.event_data`."""

    def __init__(self, event_type: str, stream_id: str, stream_version: int, reason: str) -> None:
        super().__init__(
            f"event {event_type!r} (version {stream_version} of {stream_id!r}) doesn't fit its class: {reason}; "
            "give new fields a default, or write an upcaster"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.reason = reason


class AggregateNotFoundError(PerdureError, LookupError):
    """There is no such stream. `Repository.load` returns None instead."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"there is no stream {stream_id!r}; use load() where it may be missing")
        self.stream_id = stream_id


class AggregateDefinitionError(PerdureError, TypeError):
    """An aggregate class can't work as it is written. Raised where the class is defined."""

    def __init__(self, cls: type, reason: str) -> None:
        super().__init__(f"{cls.__qualname__} can't be an aggregate: {reason}")
        self.cls = cls
        self.reason = reason


class AggregateBusyError(PerdureError, RuntimeError):
    """An aggregate is used while another task saves it and may decide its commands again."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(
            f"{stream_id!r} is being saved with retry: await that first, or load another instance with Repository.load"
        )
        self.stream_id = stream_id


# --- Appending --------------------------------------------------------------------------------------------------------


class OptimisticConcurrencyError(PerdureError):
    """The stream isn't at the expected version: somebody else appended first. Nothing was written.

    Load again and decide again, or let `Repository.save_with_retry` and `Repository.execute` do so.
    """

    def __init__(self, stream_id: str, expected_version: int | Enum, actual_version: int) -> None:
        expected = expected_version.name if isinstance(expected_version, Enum) else expected_version
        super().__init__(
            f"stream {stream_id!r} is at version {actual_version}, expected was {expected}: "
            "load it again and decide again, as execute() and save_with_retry() do"
        )
        self.stream_id = stream_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class EventIdReuseError(PerdureError):
    """Some event ids of an append are stored already, but not as this very append. Nothing was written."""

    def __init__(self, stream_id: str, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"an append to {stream_id!r} reuses event ids of another append ({_ids(event_ids)}): "
            "draw a new id for each new event, and repeat an append only as a whole"
        )
        self.stream_id = stream_id
        self.event_ids = tuple(event_ids)


class OutcomeUnknownError(PerdureError):
    """The connection failed while an append was under way: it may be written or not.

    Repeating it with the same event ids is safe: it is written once, and the first result comes back.
    """

    def __init__(self, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"it is not known whether the append was written ({_ids(event_ids)}): "
            "repeat it with the same event ids, which never writes twice"
        )
        self.event_ids = tuple(event_ids)


class StoreOverloadedError(PerdureError):
    """The queue of appends was full, or a stream was locked, for longer than `append_timeout`. Nothing was written."""

    def __init__(self, reason: str, timeout: float) -> None:
        super().__init__(f"{reason} for {timeout:g} s and nothing was written: slow down, or try again later")
        self.reason = reason
        self.timeout = timeout


# --- The store as a whole ---------------------------------------------------------------------------------------------


class ConfigurationError(PerdureError, ValueError):
    """A setting is missing or can't be used."""


class MissingExtraError(PerdureError, ImportError):
    """An optional part isn't installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'perdure[{extra}]'")
        self.extra = extra


class StoreUnavailableError(PerdureError):
    """The database can't be reached. Nothing was written."""


class AuthenticationError(StoreUnavailableError):
    """The database refused the user or the password."""


class DatabaseError(PerdureError):
    """The database refused a statement, for a reason that has no class of its own here. `sqlstate` is PostgreSQL's."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate or 'unknown'})")
        self.sqlstate = sqlstate


class StoreClosedError(PerdureError):
    """The store isn't open: it was closed, or never opened. Nothing was written."""

    def __init__(self, reason: str = "the store is closed") -> None:
        super().__init__(f"{reason}: use it inside 'async with perdure.connect() as store'")
        self.reason = reason


class WrongContextError(PerdureError, RuntimeError):
    """The store was opened in another event loop, or before a fork. Open one store per event loop and process."""


class TransactionError(PerdureError):
    """The caller's transaction can't be used for appending. Begin it by ``async with store.transaction(...)``."""


class UnsupportedOperationError(PerdureError):
    """This store can't do what was asked for."""


class SchemaError(PerdureError):
    """The store's schema in the database doesn't fit this version of Perdure."""


class SchemaOutdatedError(SchemaError):
    """Migrations are missing in the database. `missing` names them."""

    def __init__(self, schema: str, missing: Sequence[str]) -> None:
        super().__init__(
            f"schema {schema!r} lacks migrations ({', '.join(missing)}): open the store with migrate=True to apply them"
        )
        self.schema = schema
        self.missing = tuple(missing)


class SchemaTooNewError(SchemaError):
    """The schema in the database was made by a newer version of Perdure."""

    def __init__(self, schema: str, found: int, known: int) -> None:
        super().__init__(
            f"schema {schema!r} is at migration {found}, this version of Perdure knows {known}: upgrade Perdure"
        )
        self.schema = schema
        self.found = found
        self.known = known


class LogDivergedError(PerdureError):
    """A checkpoint doesn't match the log: the database was restored, or failed over to a server that had less."""

    def __init__(self, name: str, global_position: int, expected: UUID | None, found: UUID | None) -> None:
        there = f"event {found} stands there" if found else "no event stands there"
        super().__init__(
            f"{name} has read up to position {global_position} (event {expected}), but {there}: "
            "the log isn't the one that was read; rebuild from the log that is now the truth"
        )
        self.name = name
        self.global_position = global_position
        self.expected = expected
        self.found = found


class EmbeddedServerError(PerdureError):
    """The embedded PostgreSQL can't be started, joined or stopped."""


# --- Read models ------------------------------------------------------------------------------------------------------


class ProjectionDefinitionError(PerdureError, TypeError):
    """A projection can't work as it is written. Raised where it is defined, or when the service starts."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"projection {name!r} can't run: {reason}")
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
        super().__init__(f"{child!r}: row {_shown(key)} isn't loaded for this event: name it in child_table(keys=...)")
        self.child, self.key = child, key


class UnknownProjectionError(PerdureError, LookupError):
    """No projection of that name is run here."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no projection {name!r} here; there are: {', '.join(known) or 'none'}")
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


class ProjectionTimeoutError(PerdureError, TimeoutError):
    """A projection didn't reach a position in time. `lag` is the number of positions still to come."""

    def __init__(self, name: str, global_position: int, reached: int, timeout: float) -> None:
        super().__init__(
            f"projection {name!r} stood at {reached} after {timeout:g} s, "
            f"{global_position - reached} positions short of {global_position}: is its service running?"
        )
        self.name = name
        self.global_position = global_position
        self.reached = reached
        self.lag = global_position - reached
        self.timeout = timeout


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _ids(event_ids: Sequence[UUID]) -> str:
    shown = ", ".join(str(event_id) for event_id in event_ids[:3])
    return shown if len(event_ids) <= 3 else f"{shown} and {len(event_ids) - 3} more"

"""`AggregateRoot`, the base class of aggregates."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, get_type_hints
from uuid import UUID

from perdure.aggregate.constructor import check_constructor, has_own_constructor
from perdure.aggregate.definition import (
    Handlers,
    check_assignments,
    check_commands,
    check_handlers,
    checked_category,
    checked_state_version,
    checked_strict,
    state_of,
)
from perdure.aggregate.uncommitted import Uncommitted
from perdure.checks import check_count, check_instance
from perdure.errors import (
    AggregateBusyError,
    AggregateDefinitionError,
    InvalidArgumentError,
    UnhandledEventError,
    UnknownEventTypeError,
)
from perdure.events import NewEvent, StoredEvent, check_stream_id, registry


class AggregateRoot:
    """An object that decides by business rules, and whose state is derived from its events alone.

    Annotated fields with defaults are the state. Methods with ``@handles`` change it; methods with ``@command`` check
    the rules and raise events. A class without a category is a base class for others, and has no instances.

    A class may also have a ``state_version``. Increase it when handlers or upcasters change, so that older snapshots
    aren't used any more. A change of fields is detected without it.

    Without a handler, an event only increases the version. A class with ``strict=True`` refuses such an event, when it
    is raised and when it is loaded. A handler that does nothing says that an event is known and has no effect.

    Args:
        aggregate_id: a string or UUID, without the category: ``User("123")`` has the stream ``user-123``.

    Raises:
        AggregateDefinitionError: the class is invalid. Raised when the class is created.
        InvalidArgumentError: the id is invalid; InvalidStreamIdError if the stream id made from it is.

    Example:
        >>> from perdure import AggregateRoot, command, event, handles
        >>> @event("door.opened")
        ... class DoorOpened: ...
        >>> class Door(AggregateRoot, category="door"):
        ...     is_open: bool = False
        ...
        ...     @command
        ...     def open(self) -> None:
        ...         if not self.is_open:
        ...             self.raise_event(DoorOpened())
        ...
        ...     @handles
        ...     def _opened(self, event: DoorOpened) -> None:
        ...         self.is_open = True
        >>> door = Door("front")
        >>> door.open()
        >>> door
        <Door 'door-front' at version 1 (1 uncommitted): is_open=True>
    """

    # Slots keep these attributes apart from the state, so that __dict__ holds only the state.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "aggregate_id",
        "snapshot_version",
        "stream_id",
        "stream_version",
        "uncommitted",
    )

    aggregate_id: str
    """Its id within its category."""
    stream_id: str
    """The stream of its events, ``category-id``."""
    stream_version: int
    """The number of events applied to the state, including uncommitted ones."""
    snapshot_version: int
    """The version of the latest snapshot that its repository knows; 0 if there is none."""
    uncommitted: Uncommitted
    """Events and commands that aren't stored yet. For repositories."""
    state_version: ClassVar[int] = 1
    """The version of the code that derives the state from events."""

    _category: ClassVar[str | None] = None
    _is_strict: ClassVar[bool] = False
    _state: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    _handlers: ClassVar[Handlers]

    @classmethod
    def state_types(cls) -> Mapping[str, Any]:
        """Return the type of each field of the state. Raise NameError if an annotation can't be resolved."""
        types = get_type_hints(cls, include_extras=True)
        return {name: types[name] for name in cls._state}

    @classmethod
    def stream_category(cls) -> str:
        """Return the category of its streams. Raise AggregateDefinitionError if the class has none."""
        if cls._category is None:
            raise AggregateDefinitionError(
                cls, f'it has no category: write class {cls.__name__}(AggregateRoot, category="...")'
            )
        return cls._category

    def __init_subclass__(
        cls,
        *,
        category: str | None = None,
        state_version: int | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if category is not None:
            cls._category = checked_category(cls, category)
        if state_version is not None:
            cls.state_version = checked_state_version(cls, state_version)
        if strict is not None:
            cls._is_strict = checked_strict(cls, strict)
        check_commands(cls)
        check_handlers(cls)
        cls._state = state_of(cls, AggregateRoot)
        cls._handlers = Handlers(cls)
        if cls._category is not None:  # a class without instances may leave fields to its subclasses
            if has_own_constructor(cls, AggregateRoot):
                check_constructor(cls, AggregateRoot, cls._state)
            check_assignments(cls, AggregateRoot, cls._state)

    def __init__(self, aggregate_id: str | UUID) -> None:
        self.aggregate_id = str(aggregate_id) if isinstance(aggregate_id, UUID) else aggregate_id
        self.stream_id = self._checked_stream_id(self.aggregate_id)
        self.stream_version = 0
        self.snapshot_version = 0
        self.uncommitted = Uncommitted()
        vars(self).update({name: first_value() for name, first_value in self._state.items()})

    @property
    def committed_version(self) -> int:
        """The version without uncommitted events, which the stream must have at the next save."""
        return self.stream_version - len(self.uncommitted.events)

    @property
    def uncommitted_events(self) -> tuple[NewEvent, ...]:
        """The events that aren't saved yet, oldest first."""
        return tuple(self.uncommitted.events)

    def raise_event(self, event: object, timestamp: datetime | None = None) -> None:
        """Apply an event and record it for the next save, with a new id and the metadata of the context.

        Args:
            event: an object whose class is decorated with ``@event``. It is encoded now; handlers get what a reader
                will get, so neither they nor later changes to the object change what is recorded.
            timestamp: when it happened, with a time zone. Default: now.

        Raises:
            UnregisteredEventError: its class isn't decorated with ``@event``.
            UnhandledEventError: the class is strict, and no method handles the event.
            EventEncodingError: it has a value of a wrong type, or one that can't be stored. The state is unchanged.
            InvalidArgumentError: the timestamp has no time zone.
            AggregateBusyError: another task is saving the aggregate with retry.
        """
        work = self.uncommitted
        if work.held:
            raise AggregateBusyError(self.stream_id)
        if work.applying:
            raise AggregateDefinitionError(type(self), "a handler raised an event: raise it in the command instead")
        recorded = NewEvent(event, timestamp=timestamp)
        self.apply_event(recorded.decode())
        work.events.append(recorded)

    def apply_event(self, event: object) -> None:
        """Apply an event to the state, without recording it. An event without a handler only increases the version.

        Raises:
            UnregisteredEventError: its class isn't decorated with ``@event``.
            UnhandledEventError: the class is strict, and no method handles the event.
            AggregateDefinitionError: the event of a handler is unknown, or two handlers have the same event.
        """
        handler = self._handlers[type(event)]
        if handler is not None:
            self.uncommitted.applying = True
            try:
                handler(self, event)
            finally:
                self.uncommitted.applying = False
        elif self._is_strict:
            raise self._unhandled(type(event))
        self.stream_version += 1

    def apply_stored_event(self, stored: StoredEvent) -> None:
        """Apply a stored event to the state. Its payload is decoded only if a method handles it.

        Raises:
            UnknownEventTypeError: this code has no class for its type.
            EventDecodingError: its data doesn't fit its class.
            UnhandledEventError: the class is strict, and no method handles the event.
        """
        check_instance("stored", stored, StoredEvent)
        kind = registry.by_name(stored.event_type)
        if kind is None:
            raise UnknownEventTypeError(stored.event_type, stored.stream_id, stored.stream_version)
        if self._handlers[kind.cls] is None:
            if self._is_strict:
                raise self._unhandled(kind.cls)
            self.stream_version += 1
        else:
            self.apply_event(stored.decode())

    def mark_events_as_committed(self, through: int | None = None) -> None:
        """Drop uncommitted events that are stored now: all, or those up to the version `through`."""
        if through is not None:
            check_count("through", through)
        version = self.stream_version if through is None else through
        self.uncommitted.drop(max(0, version - self.committed_version), version)

    def __repr__(self) -> str:
        count = len(self.uncommitted.events)
        version = f"{self.stream_version} ({count} uncommitted)" if count else str(self.stream_version)
        state = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in vars(self).items())
        return f"<{type(self).__name__} {self.stream_id!r} at version {version}{': ' if state else ''}{state}>"

    def _unhandled(self, event_class: type) -> UnhandledEventError:
        return UnhandledEventError(type(self), event_class, self.stream_id, self.stream_version + 1)

    def _checked_stream_id(self, aggregate_id: object) -> str:
        category = self.stream_category()
        if not isinstance(aggregate_id, str):
            raise InvalidArgumentError("aggregate_id", f"must be a string or a UUID, not {type(aggregate_id).__name__}")
        if aggregate_id.startswith(f"{category}-"):
            raise InvalidArgumentError(
                "aggregate_id", f"{aggregate_id!r} begins with its category: leave {category + '-'!r} out, it is added"
            )
        stream_id = f"{category}-{aggregate_id}"
        check_stream_id(stream_id)
        return stream_id

"""The registry of event types: their classes, and the upcasters of old versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from perdure.errors import DuplicateEventTypeError, UnregisteredEventError, UpcasterDefinitionError
from perdure.events.codec import EventCodec, codec_for


class EventType:
    """An event type: its stored name, schema version and class."""

    def __init__(self, name: str, version: int, cls: type, aliases: tuple[str, ...] = ()) -> None:
        self.name = name
        self.version = version
        self.cls = cls
        self.aliases = aliases
        """Earlier stored names."""

    @property
    def names(self) -> tuple[str, ...]:
        """The current and the earlier stored names."""
        return (self.name, *self.aliases)

    @cached_property
    def codec(self) -> EventCodec:
        """Created when the class is defined, or at first use if the annotations can't be resolved until then."""
        return codec_for(self.name, self.cls)


class Upcaster(NamedTuple):
    """A step from one schema version to the next."""

    event_type: str
    from_version: int
    function: Callable[..., Any]
    takes_metadata: bool

    def __str__(self) -> str:
        return f"{'.'.join(_place(self.function))} ({self.event_type!r} from version {self.from_version})"


class EventRegistry:
    """Event types and upcasters by name. The process has one: `registry`.

    A type has one history under all its names: its versions continue when it is renamed.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_class: dict[type, EventType] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, event_type: EventType) -> None:
        """Register a type. A class that is defined again, as in a reloaded module, replaces itself.

        Raises:
            DuplicateEventTypeError: another class has one of the names.
        """
        taken = [self._by_name[name] for name in event_type.names if name in self._by_name]
        for existing in taken:
            if _place(existing.cls) != _place(event_type.cls):
                name = next(name for name in event_type.names if name in existing.names)
                raise DuplicateEventTypeError(name, existing.cls, event_type.cls)
        for name in [name for name, existing in self._by_name.items() if existing in taken]:
            del self._by_name[name]
        self._by_name.update(dict.fromkeys(event_type.names, event_type))
        self._by_class[event_type.cls] = event_type

    def add_upcaster(self, upcaster: Upcaster) -> None:
        """Register an upcaster, even before its type. One that is defined again replaces itself.

        Raises:
            UpcasterDefinitionError: the step has another upcaster.
        """
        step = (upcaster.event_type, upcaster.from_version)
        existing = self._upcasters.get(step)
        if existing is not None and _place(existing.function) != _place(upcaster.function):
            raise UpcasterDefinitionError(*step, f"{'.'.join(_place(existing.function))} exists already")
        self._upcasters[step] = upcaster

    def by_name(self, name: str) -> EventType | None:
        """Return the type with a stored name, or None."""
        return self._by_name.get(name)

    def by_class(self, cls: type) -> EventType:
        """Return the type of a class. Raise UnregisteredEventError if it isn't decorated with ``@event``."""
        try:
            return self._by_class[cls]
        except KeyError:
            raise UnregisteredEventError(cls) from None

    def upcaster(self, event_type: EventType, stored_name: str, version: int) -> Upcaster | None:
        """Return the upcaster from a version, for events with a stored name; None if there is none.

        The upcaster of that name comes first, then that of the current name, then the only one of an alias.
        """
        steps = self._upcasters
        if found := steps.get((stored_name, version)) or steps.get((event_type.name, version)):
            return found
        others = [steps[name, version] for name in event_type.aliases if (name, version) in steps]
        return others[0] if len(others) == 1 else None

    def problems(self) -> Iterator[str]:
        """Yield the problems of the code that would keep events from being read."""
        for event_type in sorted(set(self._by_name.values()), key=lambda one: one.name):
            missing = [
                str(version)
                for version in range(1, event_type.version)
                if not any((name, version) in self._upcasters for name in event_type.names)
            ]
            if missing:
                yield (
                    f"{event_type.name!r} has version {event_type.version}, but there is no upcaster "
                    f"from version {', '.join(missing)}: write one with @upcast, and import its module"
                )
        for (name, version), upcaster in sorted(self._upcasters.items()):
            known = self._by_name.get(name)
            if known is None:
                yield f"upcaster {upcaster} is for an event type without a class: fix the name, or import the class"
            elif version >= known.version:
                yield (
                    f"upcaster {upcaster} leads to version {version + 1}, but {known.cls.__qualname__} "
                    f"has version {known.version}: increase version= in its @event"
                )


registry = EventRegistry()


def _place(thing: Any) -> tuple[str, str]:
    return str(getattr(thing, "__module__", "?")), str(getattr(thing, "__qualname__", repr(thing)))

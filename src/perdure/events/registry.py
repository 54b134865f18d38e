"""The registry: which class stands for which stored type, and which upcasters bring old versions up to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from perdure.errors import DuplicateEventTypeError, UnregisteredEventError, UpcasterDefinitionError
from perdure.events.codec import EventCodec, codec_for


class EventType:
    """A stored name, the version of its schema, and the class that stands for it here."""

    def __init__(self, name: str, version: int, cls: type, aliases: tuple[str, ...] = ()) -> None:
        self.name = name
        self.version = version
        self.cls = cls
        self.aliases = aliases
        """The names that it was stored under before."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it is stored under."""
        return (self.name, *self.aliases)

    @cached_property
    def codec(self) -> EventCodec:
        """Made at definition where the annotations can be resolved by then, else at first use."""
        return codec_for(self.name, self.cls)


class Upcaster(NamedTuple):
    """A step from one version of a schema to the next."""

    event_type: str
    from_version: int
    function: Callable[..., Any]
    takes_metadata: bool

    def __str__(self) -> str:
        return f"{'.'.join(_place(self.function))} ({self.event_type!r} from version {self.from_version})"


class EventRegistry:
    """Which class stands for which stored type. There is one for the process: `registry`.

    A type has one history, whatever names it was stored under: its versions count on when it is renamed.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_class: dict[type, EventType] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, event_type: EventType) -> None:
        """Register a type. The same class defined anew (a reloaded module) takes its own place.

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
        """Register an upcaster, whether its type is known yet or not. One defined anew takes its own place.

        Raises:
            UpcasterDefinitionError: there is another one for this step.
        """
        step = (upcaster.event_type, upcaster.from_version)
        existing = self._upcasters.get(step)
        if existing is not None and _place(existing.function) != _place(upcaster.function):
            raise UpcasterDefinitionError(*step, f"{'.'.join(_place(existing.function))} is there for it already")
        self._upcasters[step] = upcaster

    def by_name(self, name: str) -> EventType | None:
        """The type of that stored name, or None."""
        return self._by_name.get(name)

    def by_class(self, cls: type) -> EventType:
        """The type that the class stands for. Raises UnregisteredEventError when it bears no ``@event``."""
        try:
            return self._by_class[cls]
        except KeyError:
            raise UnregisteredEventError(cls) from None

    def upcaster(self, event_type: EventType, stored_name: str, version: int) -> Upcaster | None:
        """The step from that version, for events of that stored name.

        The name's own step, else that of the type's present name, else the only one that an alias has.
        """
        steps = self._upcasters
        if found := steps.get((stored_name, version)) or steps.get((event_type.name, version)):
            return found
        others = [steps[name, version] for name in event_type.aliases if (name, version) in steps]
        return others[0] if len(others) == 1 else None

    def problems(self) -> Iterator[str]:
        """What keeps events from being read, as far as the code alone can tell."""
        for event_type in sorted(set(self._by_name.values()), key=lambda one: one.name):
            missing = [
                str(version)
                for version in range(1, event_type.version)
                if not any((name, version) in self._upcasters for name in event_type.names)
            ]
            if missing:
                yield (
                    f"{event_type.name!r} is at version {event_type.version}, and there is no upcaster "
                    f"from version {', '.join(missing)}: write one with @upcast, and import its module"
                )
        for (name, version), upcaster in sorted(self._upcasters.items()):
            known = self._by_name.get(name)
            if known is None:
                yield f"upcaster {upcaster} is for a type that no class bears: mend the name, or import the class"
            elif version >= known.version:
                yield (
                    f"upcaster {upcaster} leads to version {version + 1}, but {known.cls.__qualname__} "
                    f"is at version {known.version}: count up version= in its @event"
                )


registry = EventRegistry()


def _place(thing: Any) -> tuple[str, str]:
    return str(getattr(thing, "__module__", "?")), str(getattr(thing, "__qualname__", repr(thing)))

"""`@event`: what makes a class an event, and the registry that knows a stored type's class."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from types import FunctionType
from typing import Any, TypeVar, cast, dataclass_transform, overload

import msgspec

from perdure.errors import DuplicateEventTypeError, EventDefinitionError, InvalidArgumentError, UnregisteredEventError
from perdure.events.codec import Codec

E = TypeVar("E")
T = TypeVar("T")

_NAME = re.compile(r"[^\x00-\x20\x7f\ud800-\udfff]{1,200}")


class EventType:
    """A stored name, the version of its schema, and the class that stands for it here."""

    def __init__(self, name: str, version: int, cls: type) -> None:
        self.name = name
        self.version = version
        self.cls = cls

    @cached_property
    def codec(self) -> Codec:
        """Made at definition where the annotations can be resolved by then, else at first use."""
        return Codec(self.name, self.cls)


class EventRegistry:
    """Which class stands for which stored type. There is one for the process: `registry`."""

    def __init__(self) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_class: dict[type, EventType] = {}

    def add(self, event_type: EventType) -> None:
        """Register a type. The same class defined anew (a reloaded module) takes its own place.

        Raises:
            DuplicateEventTypeError: another class has the name.
        """
        existing = self._by_name.get(event_type.name)
        if existing is not None and _place(existing.cls) != _place(event_type.cls):
            raise DuplicateEventTypeError(event_type.name, existing.cls, event_type.cls)
        self._by_name[event_type.name] = event_type
        self._by_class[event_type.cls] = event_type

    def by_name(self, name: str) -> EventType | None:
        """The type of that stored name, or None."""
        return self._by_name.get(name)

    def by_class(self, cls: type) -> EventType:
        """The type that the class stands for. Raises UnregisteredEventError when it bears no ``@event``."""
        try:
            return self._by_class[cls]
        except KeyError:
            raise UnregisteredEventError(cls) from None


registry = EventRegistry()


@overload
def field(*, default: T) -> T: ...
# pyright in its strict mode would call what a bare `list` makes partially unknown.
@overload
def field(*, default_factory: type[list[Any]]) -> list[Any]: ...
@overload
def field(*, default_factory: type[dict[Any, Any]]) -> dict[Any, Any]: ...
@overload
def field(*, default_factory: type[set[Any]]) -> set[Any]: ...
@overload
def field(*, default_factory: Callable[[], T]) -> T: ...
def field(*, default: Any = msgspec.UNSET, default_factory: Any = msgspec.UNSET) -> Any:
    """Give a field of an event or of an aggregate its default, or what makes a fresh one each time.

    Example:
        >>> @event("cart.opened")
        ... class CartOpened:
        ...     items: list[str] = field(default_factory=list)
        >>> CartOpened().items
        []
    """
    if default is not msgspec.UNSET:
        return msgspec.field(default=default)
    return msgspec.field(default_factory=default_factory)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, dataclasses.field))
def event(name: str, *, version: int = 1) -> Callable[[type[E]], type[E]]:
    """Make a class an event, stored under `name`: never the class path, so that classes can be renamed and moved.

    A plain class becomes a frozen, keyword-only one. A dataclass, an attrs class or a msgspec Struct stays what it is.

    Args:
        name: the stored type, for instance ``user.registered``: 1 to 200 characters, no white space.
        version: the version of the event's schema, counted from 1.

    Raises:
        EventDefinitionError: a field has a type that can't be stored; it names the field and the fix.
        DuplicateEventTypeError: another class has this name.

    Example:
        >>> @event("title.rented")
        ... class TitleRented:
        ...     title: str
        ...     days: int = 2
        >>> TitleRented(title="Heat")
        TitleRented(title='Heat', days=2)
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgumentError("name", f"{name!r} is no event type: use 1 to 200 characters without white space")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= 32767:
        raise InvalidArgumentError("version", f"{version!r} is no schema version: count 1, 2, 3 ... up to 32767")

    def decorate(cls: type[E]) -> type[E]:
        if not isinstance(cls, type):
            raise InvalidArgumentError("event", f"decorates classes, and {cls!r} is none")
        stored = cls if _is_structured(cls) else cast("type[E]", _as_struct(cls))
        event_type = EventType(name, version, stored)
        # A NameError means a class that is defined further down: it is looked at again at first use.
        with suppress(NameError):
            event_type.codec  # noqa: B018 - refuses at definition what can't be stored
        registry.add(event_type)
        return stored

    return decorate


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _is_structured(cls: type[Any]) -> bool:
    return issubclass(cls, msgspec.Struct) or dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")


def _as_struct(cls: type) -> type:
    """The plain class made anew as a frozen, keyword-only Struct: the form that msgspec builds fastest."""
    if "__init__" in vars(cls):
        raise EventDefinitionError(cls, "it has its own __init__; declare annotated fields instead")
    for parent in cls.__mro__[1:-1]:
        if vars(parent).get("__annotations__"):
            raise EventDefinitionError(
                cls, f"it inherits the fields of {parent.__qualname__}, a plain class; make that a msgspec Struct"
            )
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    namespace["__qualname__"] = cls.__qualname__
    bases = (*(base for base in cls.__bases__ if base is not object), msgspec.Struct)
    metaclass: Any = type(msgspec.Struct)
    try:
        struct: type = metaclass(cls.__name__, bases, namespace, frozen=True, kw_only=True)
    except TypeError as error:
        raise EventDefinitionError(cls, str(error)) from error
    _repoint_super(cls, struct)
    return struct


def _repoint_super(cls: type, struct: type) -> None:
    """Let ``super()`` and ``__class__`` in methods mean the class made anew."""
    for member in vars(cls).values():
        for function in (
            member,
            *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "fdel", "func")),
        ):
            for cell in (isinstance(function, FunctionType) and function.__closure__) or ():
                # An empty cell is a name that the function around the class assigns later.
                with suppress(ValueError):
                    if cell.cell_contents is cls:
                        cell.cell_contents = struct

"""`@event`, which makes a class an event."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any, TypeVar, cast, dataclass_transform, overload

import msgspec

from perdure.checks import check_function
from perdure.errors import EventDefinitionError, InvalidArgumentError
from perdure.errors.formats import shown
from perdure.events.leaves import is_pydantic
from perdure.events.registry import EventType, registry

E = TypeVar("E")
T = TypeVar("T")

_NAME = re.compile(r"[^\x00-\x20\x7f\ud800-\udfff]{1,200}")


@overload
def field(*, default: T) -> T: ...
# In strict mode, pyright reports the result of a bare `list` as partially unknown.
@overload
def field(*, default_factory: type[list[Any]]) -> list[Any]: ...
@overload
def field(*, default_factory: type[dict[Any, Any]]) -> dict[Any, Any]: ...
@overload
def field(*, default_factory: type[set[Any]]) -> set[Any]: ...
@overload
def field(*, default_factory: Callable[[], T]) -> T: ...
def field(*, default: Any = msgspec.UNSET, default_factory: Any = msgspec.UNSET) -> Any:
    """Give a field of an event or an aggregate a default, or a function that makes a new default each time.

    Raises:
        InvalidArgumentError: neither or both are given, or `default_factory` isn't callable.

    Example:
        >>> @event("cart.opened")
        ... class CartOpened:
        ...     items: list[str] = field(default_factory=list)
        >>> CartOpened().items
        []
    """
    if default is not msgspec.UNSET:
        if default_factory is not msgspec.UNSET:
            raise InvalidArgumentError("default_factory", "is given together with default: give only one of them")
        return msgspec.field(default=default)
    check_function("default_factory", default_factory)
    return msgspec.field(default_factory=default_factory)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, dataclasses.field))
def event(name: str, *, version: int = 1, aliases: Sequence[str] = ()) -> Callable[[type[E]], type[E]]:
    """Make a class an event. It is stored under `name`, not the class path, so you can rename and move the class.

    A plain class becomes frozen and keyword-only. Dataclasses, attrs classes, pydantic models and msgspec Structs stay
    as they are.

    Args:
        name: the stored event type, such as ``user.registered``: 1 to 200 characters, no white space.
        version: the schema version of the event, from 1. Each step up to it needs an upcaster, see `upcast`.
        aliases: earlier names of the event type. Versions continue across a change of name.

    Raises:
        EventDefinitionError: a field has a type that can't be stored. The message names the field and the fix.
        DuplicateEventTypeError: another class has this name or one of the aliases.

    Example:
        >>> @event("title.rented")
        ... class TitleRented:
        ...     title: str
        ...     days: int = 2
        >>> TitleRented(title="Heat")
        TitleRented(title='Heat', days=2)
    """
    check_event_type("name", name)
    check_event_version("version", version)
    earlier = _checked_aliases(name, aliases)

    def decorate(cls: type[E]) -> type[E]:
        if not isinstance(cls, type):
            raise InvalidArgumentError("event", f"decorates classes, and {shown(cls)} isn't one")
        stored = cls if _is_structured(cls) else cast("type[E]", _as_struct(cls))
        event_type = EventType(name, version, stored, earlier)
        # A NameError means a class that is defined later in the module. The check runs again at first use.
        with suppress(NameError):
            event_type.codec  # noqa: B018 - refuses types that can't be stored when the class is defined
        registry.add(event_type)
        return stored

    return decorate


def check_event_type(argument: str, name: object) -> None:
    """Raise InvalidArgumentError unless the name is a valid event type."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            argument, f"{shown(name)} isn't an event type: use 1 to 200 characters without white space"
        )


def check_event_version(argument: str, version: object) -> None:
    """Raise InvalidArgumentError unless the version is a valid schema version."""
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= 32767:
        raise InvalidArgumentError(argument, f"{shown(version)} isn't a schema version: count 1, 2, 3 ... up to 32767")


def _checked_aliases(name: str, aliases: Sequence[str]) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Sequence):
        raise InvalidArgumentError("aliases", f"must be a tuple of names, not {shown(aliases)}")
    for alias in aliases:
        check_event_type("aliases", alias)
    if len({name, *aliases}) <= len(aliases):
        raise InvalidArgumentError("aliases", f"{shown(aliases)} has a name twice, or the current name {name!r}")
    return tuple(aliases)


def _is_structured(cls: type[Any]) -> bool:
    return (
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or is_pydantic(cls)
    )


def _as_struct(cls: type) -> type:
    """Rebuild a plain class as a frozen, keyword-only Struct, the form that msgspec creates fastest."""
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
    """Make ``super()`` and ``__class__`` in methods refer to the rebuilt class."""
    for member in vars(cls).values():
        for function in (
            member,
            *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "fdel", "func")),
        ):
            for cell in (isinstance(function, FunctionType) and function.__closure__) or ():
                # An empty cell is a variable that the enclosing function assigns later.
                with suppress(ValueError):
                    if cell.cell_contents is cls:
                        cell.cell_contents = struct

"""Checks the state, handlers and commands of an aggregate class when it is defined."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Final, get_origin

import msgspec

from perdure.aggregate.assignments import undeclared_names
from perdure.aggregate.constructor import undeclared
from perdure.errors import AggregateDefinitionError, InvalidArgumentError
from perdure.errors.formats import shown
from perdure.events import Handler, check_is_method, check_own_category, handlers_of, marked_methods, registry

COMMAND_MARK: Final = "__perdure_command__"

_MISSING = object()
_FIELD: type[Any] = msgspec.field().__class__
_CONSTANTS: tuple[object, ...] = (ClassVar, Final)
_CONSTANT = re.compile(r"(\w+\.)*(ClassVar|Final)\b")


class Handlers(dict[type, Handler | None]):
    """The handlers of an aggregate class by event class. Found at first use, when annotations can be resolved."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self._cls = cls
        self._declared: Mapping[type, Handler] | None = None

    def __missing__(self, event_class: type) -> Handler | None:
        if self._declared is None:
            self._declared = handlers_of(self._cls, partial(AggregateDefinitionError, self._cls))
        registry.by_class(event_class)
        declared = self._declared
        nearest = next((declared[cls] for cls in event_class.__mro__ if cls in declared), None)
        self[event_class] = nearest
        return nearest


def state_of(cls: type, root: type) -> dict[str, Callable[[], Any]]:
    """Return functions that make the initial value of each annotated field, including inherited fields.

    Raises:
        AggregateDefinitionError: a field has no default, or a mutable one that all instances would share.
    """
    owners = [owner for owner in reversed(cls.__mro__) if not issubclass(root, owner)]
    fields = {name for owner in owners for name in _fields_of(owner)}
    for owner in owners:
        _check_names(cls, owner, root)
    return {name: _first_value(cls, name) for name in sorted(fields)}


def check_commands(cls: type) -> None:
    """Raise AggregateDefinitionError if a command of the class is asynchronous."""
    for method in vars(cls).values():
        if hasattr(method, COMMAND_MARK):
            refuse_asynchronous(cls, "command", method)


def check_handlers(cls: type) -> None:
    """Raise AggregateDefinitionError if a handler of the class can't be called with an event alone."""
    for name, handler in marked_methods(cls).items():
        check_is_method(name, handler, partial(AggregateDefinitionError, cls))
        refuse_asynchronous(cls, "handler", handler)
        if not _takes_an_event(handler):
            raise AggregateDefinitionError(
                cls,
                f"handler {name}{inspect.signature(handler)} can't be called: a handler takes (self, event), "
                "so put what it needs into the event",
            )


def check_assignments(cls: type, root: type, fields: Collection[str]) -> None:
    """Raise AggregateDefinitionError if a handler of the class sets an attribute that isn't a field."""
    for name, handler in marked_methods(cls).items():
        if names := undeclared_names(cls, handler, {*fields, *dir(root)}):
            raise undeclared(cls, f"handler {name}()", names)


def checked_category(cls: type, category: str) -> str:
    """Return the category. Raise AggregateDefinitionError if it is invalid."""
    try:
        check_own_category(category)
    except InvalidArgumentError as error:
        raise AggregateDefinitionError(cls, str(error)) from error
    return category


def checked_strict(cls: type, strict: object) -> bool:
    """Return the flag. Raise AggregateDefinitionError unless it is True or False."""
    if not isinstance(strict, bool):
        raise AggregateDefinitionError(cls, f"strict must be True or False, not {shown(strict)}")
    return strict


def checked_state_version(cls: type, version: object) -> int:
    """Return the state version. Raise AggregateDefinitionError if it is invalid."""
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 2**31:
        raise AggregateDefinitionError(cls, f"{shown(version)} isn't a state_version: use 1, 2, 3 ...")
    return version


def refuse_asynchronous(cls: type, role: str, method: Callable[..., Any]) -> None:
    """Raise AggregateDefinitionError if the method is asynchronous or a generator."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(kind(inspect.unwrap(method)) for kind in kinds):
        raise AggregateDefinitionError(
            cls,
            f"{role} {method.__name__}() is asynchronous or a generator, but must be a plain method: "
            "fetch the data that it needs first, and pass it in",
        )


def _takes_an_event(handler: Handler) -> bool:
    parameters = list(inspect.signature(handler).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return True  # a decorator's function, which passes on what it gets
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        len(parameters) >= 2
        and all(one.kind in positional for one in parameters[:2])
        and all(one.default is not one.empty for one in parameters[2:])
    )


def _fields_of(owner: type) -> Iterator[str]:
    for name, annotation in inspect.get_annotations(owner).items():
        if isinstance(annotation, str):
            constant = _CONSTANT.match(annotation) is not None
        else:
            constant = annotation in _CONSTANTS or get_origin(annotation) in _CONSTANTS
        if not constant:
            yield name


def _check_names(cls: type, owner: type, root: type) -> None:
    annotated = inspect.get_annotations(owner)
    taken = [name for name in annotated if hasattr(root, name)]
    taken += [name for name in vars(owner) if name in getattr(root, "__slots__", ()) and not name.startswith("__")]
    if taken:
        raise AggregateDefinitionError(cls, f"{taken[0]!r} is an attribute of every aggregate: choose another name")
    fine = {*annotated, *inspect.get_annotations(root)}
    for name, value in vars(owner).items():
        if name not in fine and not name.startswith("__") and not _is_hashable(value):
            raise AggregateDefinitionError(cls, _shared(name, value))


def _first_value(cls: type, name: str) -> Callable[[], Any]:
    default = inspect.getattr_static(cls, name, _MISSING)
    if default is _MISSING:
        raise AggregateDefinitionError(
            cls,
            f"field {name!r} has no default, but the state exists before the first event: "
            f"write '{name}: ... | None = None', or give it field(default_factory=...)",
        )
    if isinstance(default, _FIELD):
        if default.default_factory is not msgspec.NODEFAULT:
            factory: Callable[[], Any] = default.default_factory
            return factory
        default = default.default
    if isinstance(default, dataclasses.Field):
        raise AggregateDefinitionError(cls, f"field {name!r} uses dataclasses.field: use perdure.field instead")
    if not _is_hashable(default):
        raise AggregateDefinitionError(cls, _shared(name, default))
    return lambda: default


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _shared(name: str, value: object) -> str:
    kind = type(value).__name__
    fix = f"field(default_factory={kind})" if not value else "field(default_factory=lambda: ...)"
    return (
        f"field {name!r} has a {kind} as its default, which all instances would share: write '{name}: {kind} = {fix}', "
        "or annotate it as ClassVar if they are meant to"
    )

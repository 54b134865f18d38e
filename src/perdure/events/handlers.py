"""`@handles`, which marks the methods of aggregates and projections that handle events."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from perdure.checks import can_take
from perdure.errors import InvalidArgumentError, PerdureError
from perdure.errors.formats import shown
from perdure.events.registry import registry

F = TypeVar("F", bound=Callable[..., Any])
Handler = Callable[..., Any]

Keys = Callable[[Any], Iterable[Any]]

_MARK = "__perdure_handles__"
_KEYS = "__perdure_keys__"


@overload
def handles(event_class: type, /, *event_classes: type, keys: Keys | None = None) -> Callable[[F], F]: ...
@overload
def handles(*, keys: Keys) -> Callable[[F], F]: ...
@overload
def handles(method: F, /) -> F: ...
def handles(*args: Any, keys: Keys | None = None) -> Any:
    """Make a method the handler of the events in the annotation of its first parameter.

    The annotation is resolved at first use. If it can't be, name the classes: ``@handles(UserRegistered)``.
    A subclass overrides a handler with a method of the same name, or a handler of the same event.

    Args:
        args: the method, or the classes of its events.
        keys: in a `TableProjection`, returns the keys of the rows that an event of this handler changes, instead of
            `TableProjection.keys`: ``@handles(keys=lambda event: [event.source, event.target])``.

    Example:
        >>> from perdure import AggregateRoot, event, handles
        >>> @event("lamp.switched_on")
        ... class SwitchedOn: ...
        >>> class Lamp(AggregateRoot, category="lamp"):
        ...     is_on: bool = False
        ...
        ...     @handles
        ...     def _switched_on(self, event: SwitchedOn) -> None:
        ...         self.is_on = True
    """
    if len(args) == 1 and inspect.isfunction(args[0]):
        setattr(args[0], _MARK, ())
        return args[0]
    for one in args:
        if _is_static(one):
            raise InvalidArgumentError(
                "event_classes", "is a static or class method, but a handler is a plain method, which takes self"
            )
        if not isinstance(one, type):
            raise InvalidArgumentError(
                "event_classes", f"must be classes of events, or a single method: {shown(one)} is neither"
            )

    if keys is not None and not (callable(keys) and can_take(keys, 1)):
        raise InvalidArgumentError("keys", f"must be a function that takes the event, not {shown(keys)}")

    def decorate(method: F) -> F:
        setattr(method, _MARK, args)
        setattr(method, _KEYS, keys)
        return method

    return decorate


def keys_of(handler: Handler) -> Keys | None:
    """Return what a handler says about the keys of its events."""
    keys: Keys | None = getattr(handler, _KEYS, None)
    return keys


def handlers_of(
    cls: type, refuse: Callable[[str], PerdureError], *, may_have_keys: bool = False
) -> Mapping[type, Handler]:
    """Return the handler of each event class. A handler of a subclass replaces that of its parent.

    Args:
        cls: the class with the ``@handles`` methods.
        refuse: makes the error to raise, given why a handler is invalid.
        may_have_keys: whether handlers may say which rows their events change.
    """
    found: dict[type, Handler] = {}
    for owner in reversed(cls.__mro__):
        own: dict[type, str] = {}
        for name, method in vars(owner).items():
            if not _is_marked(method) or _is_redefined(cls, name, method):
                continue
            check_is_method(name, method, refuse)
            if keys_of(method) is not None and not may_have_keys:
                raise refuse(f"handler {name}() has keys, but only the rows of a TableProjection have keys")
            for event_class in _event_classes(method, refuse):
                if event_class in own:
                    raise refuse(f"both {own[event_class]}() and {name}() handle {event_class.__qualname__}")
                own[event_class] = name
        # Looked up by name, so that the method of an overriding subclass counts.
        found.update({event_class: getattr(cls, name) for event_class, name in own.items()})
    return found


def marked_methods(cls: type) -> Mapping[str, Handler]:
    """Return the handlers of a class by name, as the class has them now. No annotation is resolved."""
    names = {name: None for owner in cls.__mro__ for name, method in vars(owner).items() if _is_marked(method)}
    return {name: inspect.getattr_static(cls, name) for name in names}


def _is_static(value: object) -> bool:
    return isinstance(value, staticmethod | classmethod)


def check_is_method(name: str, handler: object, refuse: Callable[[str], PerdureError]) -> None:
    """Raise the error that `refuse` makes unless the handler is a plain method."""
    if not inspect.isfunction(handler):
        raise refuse(f"handler {name}() is a {type(handler).__name__}, but must be a plain method, which takes self")


def _is_marked(method: object) -> bool:
    # Some versions of Python copy the mark to a static or class method, others don't.
    return hasattr(method, _MARK) or hasattr(getattr(method, "__func__", None), _MARK)


def _is_redefined(cls: type, name: str, method: Handler) -> bool:
    # A subclass has a method of that name with its own @handles.
    current = inspect.getattr_static(cls, name)
    return current is not method and _is_marked(current)


def _event_classes(method: Handler, refuse: Callable[[str], PerdureError]) -> Iterator[type]:
    name = method.__name__
    classes = getattr(method, _MARK) or _annotated(method, refuse)
    for event_class in classes:
        if not isinstance(event_class, type):
            raise refuse(f"handler {name}() names {event_class!r}, which isn't a class of events")
        try:
            registry.by_class(event_class)
        except PerdureError as error:
            raise refuse(f"handler {name}(): {error}") from error
        yield event_class


def _annotated(method: Handler, refuse: Callable[[str], PerdureError]) -> tuple[Any, ...]:
    fix = "annotate it with the event's class, or use @handles(EventClass)"
    parameters = list(inspect.signature(method).parameters.values())
    if len(parameters) < 2 or parameters[1].annotation is inspect.Parameter.empty:
        raise refuse(f"handler {method.__name__}() doesn't say which event it takes: {fix}")
    annotation: Any = parameters[1].annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, inspect.unwrap(method).__globals__)  # noqa: S307 - the user's own source
        except Exception as error:
            raise refuse(f"handler {method.__name__}(): {annotation!r} can't be resolved ({error}): {fix}") from error
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)

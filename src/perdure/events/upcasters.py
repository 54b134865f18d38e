"""`@upcast`: how events of an older version are read. They stay as they are stored, and are changed on reading.

The versions of a type count up by one, and each step is a function. The class that bears the type is the last version.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from perdure.errors import EvolutionError, UpcasterDefinitionError
from perdure.errors.formats import shown
from perdure.events.definition import check_event_type, check_event_version
from perdure.events.metadata import EventMetadata
from perdure.events.registry import Upcaster, registry

U = TypeVar(
    "U", bound=Callable[[dict[str, Any]], dict[str, Any]] | Callable[[dict[str, Any], EventMetadata], dict[str, Any]]
)


def upcast(event_type: str, *, from_version: int) -> Callable[[U], U]:
    """Make a function the step from a version of an event's schema to the next one.

    It takes the payload as JSON, and returns it as the next version has it; it may change the dict that it is given.
    If it takes a second argument, that is the `EventMetadata`. It must be pure: no clock, no I/O. Steps are chained up
    to the version of the class that bears the type; it doesn't matter whether that is defined before or after them.

    Args:
        event_type: the name that the events are stored under. See `event` for types that were renamed.
        from_version: the version that the function takes; it returns the next one.

    Raises:
        UpcasterDefinitionError: it can't be called with the payload, or there is another one for this step.

    Example:
        >>> from perdure import event, upcast
        >>> @event("seat.booked", version=2)
        ... class SeatBooked:
        ...     row: int
        ...     number: int
        >>> @upcast("seat.booked", from_version=1)
        ... def split_seat(data):
        ...     row, number = data.pop("seat").split("/")
        ...     return {**data, "row": int(row), "number": int(number)}
    """
    check_event_type("event_type", event_type)
    check_event_version("from_version", from_version)

    def decorate(function: U) -> U:
        def refuse(reason: str) -> UpcasterDefinitionError:
            return UpcasterDefinitionError(event_type, from_version, reason)

        if not callable(function) or isinstance(function, type):
            raise refuse(f"{shown(function)} is no function")
        kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if any(kind(function) for kind in kinds):
            raise refuse(f"{function.__name__}() is asynchronous or a generator, but upcasters must be plain functions")
        if not (_takes(function, 1) or _takes(function, 2)):
            raise refuse("it must take the data, and may take the metadata after it")
        registry.add_upcaster(Upcaster(event_type, from_version, function, not _takes(function, 1)))
        return function

    return decorate


def check_evolution() -> None:
    """Raise unless the upcasters lead from every version of every event to the class that stands for it now.

    Opening a store with ``async with``, and starting a `ProjectionService`, do so. What is stored isn't looked at: for
    that there is `check_stored_events`.

    Raises:
        EvolutionError: it lists the steps that are missing, and the upcasters that lead nowhere.
    """
    if problems := list(registry.problems()):
        raise EvolutionError(problems)


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True

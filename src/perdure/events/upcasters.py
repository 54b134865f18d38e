"""`@upcast`, which converts the payload of an older version when an event is read. The stored event stays unchanged.

The versions of a type count up by one, and each step is a function. The class of the type is the last version.
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
    """Make a function the upcaster from one schema version of an event to the next.

    The function takes the payload as JSON and returns it in the next version. It may change the dict that it gets.
    A second parameter gets the `EventMetadata`. The function must be pure: no clock, no I/O. Upcasters are chained up
    to the version of the event's class, which may be defined before or after them.

    Args:
        event_type: the stored name of the events. See `event` for types that were renamed.
        from_version: the version that the function converts to the next one.

    Raises:
        UpcasterDefinitionError: it can't be called with the payload, or the step has another upcaster.

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
            raise refuse(f"{shown(function)} isn't a function")
        kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if any(kind(function) for kind in kinds):
            raise refuse(f"{function.__name__}() is asynchronous or a generator, but upcasters must be plain functions")
        if not (_takes(function, 1) or _takes(function, 2)):
            raise refuse("it must take the data, and optionally the metadata")
        registry.add_upcaster(Upcaster(event_type, from_version, function, not _takes(function, 1)))
        return function

    return decorate


def check_evolution() -> None:
    """Check that upcasters lead from every version of every event type to its class.

    Stores call this in ``async with``, and a `ProjectionService` calls it when it starts. It checks the code only;
    `check_stored_events` checks the stored events.

    Raises:
        EvolutionError: upcasters are missing, or lead to no known version. It lists all of them.
    """
    if problems := list(registry.problems()):
        raise EvolutionError(problems)


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True

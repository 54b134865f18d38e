"""Checks of arguments. Each raises an InvalidArgumentError that names the argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown

LARGEST_COUNT: Final = 2**63 - 1
LONGEST_TIME: Final = 1_000_000.0
"""In seconds: eleven days. PostgreSQL's own time-outs end at twenty-four."""

_STORABLE = re.compile(r"[^\x00\ud800-\udfff]*")


def check_count(argument: str, value: object, smallest: int = 0, largest: int = LARGEST_COUNT) -> None:
    """Raise unless the value is a whole number from `smallest` to `largest`."""
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise InvalidArgumentError(argument, f"must be a whole number from {smallest} to {largest}, not {shown(value)}")


def check_seconds(argument: str, value: object) -> None:
    """Raise unless the value is a number of seconds up to `LONGEST_TIME`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LONGEST_TIME:
        raise InvalidArgumentError(
            argument, f"must be a number of seconds from 0 to {LONGEST_TIME:,.0f}, not {shown(value)}"
        )


def check_flag(argument: str, value: object) -> None:
    """Raise unless the value is True or False, because the string "false" would count as true."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(argument, f"must be True or False, not {shown(value)}")


def check_function(argument: str, value: object) -> None:
    """Raise unless the value is callable."""
    if not callable(value):
        raise InvalidArgumentError(argument, f"must be a function, not {shown(value)}")


def check_takes(argument: str, function: Callable[..., Any], *parameters: str) -> None:
    """Raise unless the function can be called with these positional arguments, or its signature isn't known."""
    if not can_take(function, len(parameters)):
        wanted = f"({', '.join(parameters)})" if parameters else "no arguments"
        raise InvalidArgumentError(argument, f"must take {wanted}, but it takes {inspect.signature(function)}")


def can_take(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with that many positional arguments; True if that isn't known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def check_instance(argument: str, value: object, *classes: type) -> None:
    """Raise unless the value is an instance of one of the classes."""
    if not isinstance(value, classes):
        wanted = " or ".join(cls.__name__ for cls in classes)
        article = "an" if wanted[0] in "AEIO" else "a"
        raise InvalidArgumentError(argument, f"must be {article} {wanted}, not {shown(value)}")


def check_text(argument: str, value: object) -> None:
    """Raise unless the value is a string that PostgreSQL can store."""
    if not isinstance(value, str):
        raise InvalidArgumentError(argument, f"must be a string, not {type(value).__name__}")
    if not _STORABLE.fullmatch(value):
        raise InvalidArgumentError(argument, "contains a NUL or a lone surrogate, which PostgreSQL can't store")


def checked_id(argument: str, value: UUID | str) -> str:
    """Return the id of a request, cause or user as a string. Raise unless it is a UUID or a non-empty string."""
    if isinstance(value, UUID):
        return str(value)
    check_text(argument, value)
    if not value:
        raise InvalidArgumentError(argument, "is empty: leave it out instead")
    return value


def checked_time(argument: str, time: object) -> datetime:
    """Return the time in UTC. Raise unless it has a time zone and is within the years 1 to 9999 in UTC."""
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InvalidArgumentError(
            argument, f"{shown(time)} isn't a datetime with a time zone: give it one, such as UTC"
        )
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidArgumentError(argument, f"{shown(time)} is outside the years 1 to 9999 in UTC") from None

"""Checks of arguments that many calls share. Each raises an InvalidArgumentError that names the argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown

LARGEST_COUNT: Final = 2**63 - 1
LONGEST_TIME: Final = 1_000_000.0
"""In seconds: eleven days. PostgreSQL's own time-outs end at twenty-four."""

_STORABLE = re.compile(r"[^\x00\ud800-\udfff]*")


def check_count(argument: str, value: object, smallest: int = 0, largest: int = LARGEST_COUNT) -> None:
    """Raise unless it is a whole number between the two."""
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise InvalidArgumentError(argument, f"must be a whole number from {smallest} to {largest}, not {shown(value)}")


def check_seconds(argument: str, value: object) -> None:
    """Raise unless it is a number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LONGEST_TIME:
        raise InvalidArgumentError(
            argument, f"must be a number of seconds from 0 to {LONGEST_TIME:,.0f}, not {shown(value)}"
        )


def check_flag(argument: str, value: object) -> None:
    """Raise unless it is True or False: the text "false" would count as true."""
    if not isinstance(value, bool):
        raise InvalidArgumentError(argument, f"must be True or False, not {shown(value)}")


def check_function(argument: str, value: object) -> None:
    """Raise unless it can be called."""
    if not callable(value):
        raise InvalidArgumentError(argument, f"must be a function, not {shown(value)}")


def check_instance(argument: str, value: object, *classes: type) -> None:
    """Raise unless it is an instance of one of the classes."""
    if not isinstance(value, classes):
        wanted = " or ".join(cls.__name__ for cls in classes)
        article = "an" if wanted[0] in "AEIO" else "a"
        raise InvalidArgumentError(argument, f"must be {article} {wanted}, not {shown(value)}")


def check_text(argument: str, value: object) -> None:
    """Raise unless it is text that PostgreSQL can store."""
    if not isinstance(value, str):
        raise InvalidArgumentError(argument, f"must be text, not {type(value).__name__}")
    if not _STORABLE.fullmatch(value):
        raise InvalidArgumentError(argument, "holds a NUL or a lone surrogate, which PostgreSQL can't store")


def checked_id(argument: str, value: UUID | str) -> str:
    """The id of a request, a cause or a user as text. Raises unless it is a UUID, or text that isn't empty."""
    if isinstance(value, UUID):
        return str(value)
    check_text(argument, value)
    if not value:
        raise InvalidArgumentError(argument, "is empty: leave it out instead")
    return value


def checked_time(argument: str, time: object) -> datetime:
    """The time in UTC. Raises unless it is an aware one, within the years 1 to 9999 in UTC."""
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InvalidArgumentError(argument, f"{shown(time)} is no aware datetime: give it a time zone, as UTC")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidArgumentError(argument, f"{shown(time)} lies beyond the years 1 to 9999 in UTC") from None

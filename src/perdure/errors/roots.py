"""The roots of the two trees: `PerdureError` for what goes wrong here, `DomainError` for a user's own rules."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar


class DomainError(Exception):
    """A business rule was broken. Raise it, or a subclass, from commands.

    Example:
        >>> raise DomainError("user is already registered")
        Traceback (most recent call last):
        ...
        perdure.errors.roots.DomainError: user is already registered
    """


class PerdureError(Exception):
    """The root of all errors that Perdure raises.

    Attributes:
        is_transient: Whether the same call may succeed later, though nobody changes code, settings or the schema.
            Nothing was done, and what stood in the way may pass: a server that restarts, a lock, a pool whose
            connections are all in use. It is False for `OutcomeUnknownError`, where something may have been done.

    Example:
        >>> from perdure.errors import StoreClosedError, StoreUnavailableError
        >>> StoreUnavailableError("the server restarts").is_transient, StoreClosedError().is_transient
        (True, False)
    """

    is_transient: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message, which is not what our constructors take.
        return (type(self).__new__, (type(self), *self.args), self.__dict__)


E = TypeVar("E", bound=BaseException)


def copied(error: E) -> E:
    """A copy, which will have a traceback of its own; the error itself, if somebody else's, which can't be copied."""
    try:
        again = copy(error).with_traceback(error.__traceback__)
        again.__cause__ = error.__cause__
    except Exception:  # noqa: BLE001 - whatever its constructor wants
        return error
    return again

"""The roots of the two trees: `PerdureError` for errors of Perdure, `DomainError` for a user's own rules."""

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
        is_transient: Whether the same call may succeed later without a change of code, settings or schema. If True,
            nothing was done, and the obstacle is temporary: a server that restarts, a lock, a pool without a free
            connection. It is False for `OutcomeUnknownError`, because something may have been written.

    Example:
        >>> from perdure.errors import StoreClosedError, StoreUnavailableError
        >>> StoreUnavailableError("the server restarts").is_transient, StoreClosedError().is_transient
        (True, False)
    """

    is_transient: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ with the message, but the constructors take other arguments.
        return (type(self).__new__, (type(self), *self.args), self.__dict__)


E = TypeVar("E", bound=BaseException)


def copied(error: E) -> E:
    """Return a copy of an error that has its own traceback; the error itself if a third-party class can't be copied."""
    try:
        again = copy(error).with_traceback(error.__traceback__)
        again.__cause__ = error.__cause__
    except Exception:  # noqa: BLE001 - a foreign constructor may raise anything
        return error
    return again

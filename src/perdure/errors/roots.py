"""The roots of the two trees: `PerdureError` for what goes wrong here, `DomainError` for a user's own rules."""

from __future__ import annotations

from typing import Any


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

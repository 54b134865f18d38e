"""Maps errors to a message, an exit status and the next command to type."""

from __future__ import annotations

import shlex
from typing import Final

import click

from perdure.errors import (
    AuthenticationError,
    BuildStateError,
    ConfigurationError,
    EmbeddedServerError,
    EventDecodingError,
    EventParkedError,
    EvolutionError,
    InvalidArgumentError,
    MissingExtraError,
    NamespaceSharedError,
    PerdureError,
    ProjectionPausedError,
    ProjectionTimeoutError,
    SchemaOutdatedError,
    SchemaTooNewError,
    StoreUnavailableError,
    SwitchBlockedError,
    UnknownBuildError,
    UnknownEventTypeError,
    UnknownEventVersionError,
    UnknownProjectionError,
    UnknownTimerError,
    UnreadableEventsError,
    ViewInUseError,
)
from perdure.errors.mask import masked_text

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141

_ADVICE: Final[tuple[tuple[tuple[type[PerdureError], ...], str], ...]] = (
    ((SchemaOutdatedError,), "perdure db apply"),
    ((NamespaceSharedError,), "perdure db renumber"),
    ((SchemaTooNewError,), "pip install --upgrade perdure"),
    ((UnknownProjectionError,), "perdure projections list"),
    ((UnknownTimerError,), "perdure timers list"),
    (
        (UnknownEventTypeError, UnknownEventVersionError, EventDecodingError, EvolutionError, UnreadableEventsError),
        "perdure check",
    ),
    ((AuthenticationError, ConfigurationError, StoreUnavailableError, EmbeddedServerError), "perdure doctor"),
)
_OF_A_PROJECTION: Final = (
    BuildStateError,
    ProjectionPausedError,
    ProjectionTimeoutError,
    SwitchBlockedError,
    UnknownBuildError,
    ViewInUseError,
)
_USAGE_ERRORS: Final = (InvalidArgumentError, UnknownProjectionError)


class CommandError(PerdureError):
    """A command can't do what was requested.

    Args:
        message: what went wrong.
        next_command: what to type next, such as ``perdure streams list``.
        status: the exit status.
    """

    def __init__(self, message: str, next_command: str, *, status: int = PROBLEM) -> None:
        super().__init__(message)
        self.next_command = next_command
        self.status = status


def status_of(error: BaseException) -> int:
    """Return the exit status for an error."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, click.ClickException):
        return error.exit_code
    return USAGE if isinstance(error, _USAGE_ERRORS) else PROBLEM


def message_of(error: BaseException) -> str:
    """Return the text to show for an error, without passwords."""
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return masked_text(text) or type(error).__name__


def next_command(error: BaseException, command: str) -> str:
    """Return the command to type after an error. `command` is the one that failed, such as ``perdure streams list``."""
    if isinstance(error, CommandError):
        return error.next_command
    if isinstance(error, _OF_A_PROJECTION):
        return f"perdure projections status {shlex.quote(error.name)}"
    if isinstance(error, EventParkedError):
        return f"perdure parked list {shlex.quote(error.name)}"
    if isinstance(error, MissingExtraError):
        return f"pip install {shlex.quote(f'perdure[{error.extra}]')}"
    for errors, advice in _ADVICE:
        if isinstance(error, errors):
            return advice if advice != command else "perdure --database postgresql://user@host/database doctor"
    return f"{command} --help" if status_of(error) == USAGE else "perdure doctor"

"""The report of a command, and the envelope in which ``--json`` prints it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from perdure.cli.failures import OK
from perdure.cli.screen import Screen

ENVELOPE_VERSION: Final = 1


@dataclass(frozen=True)
class CommandReport:
    """The result of a command.

    Attributes:
        data: what ``--json`` prints.
        show: prints the same on a screen.
        status: the exit status.
        next_command: what the user may want to type next, if anything.
    """

    data: Any
    show: Callable[[Screen], None]
    status: int = OK
    next_command: str | None = None


class ErrorView(msgspec.Struct):
    """The error that ended a command."""

    error: str
    """The class of the error."""
    message: str


class Envelope(msgspec.Struct):
    """What ``--json`` prints: one envelope for a command, one per line for a streaming command."""

    version: int
    """The version of this format: 1."""
    command: str
    """The command, such as ``events read``."""
    status: int
    """The exit status: 0 for success, 1 for a problem, 2 for wrong usage."""
    data: Any
    """The result; null after an error."""
    error: ErrorView | None
    """The error; null if there was none."""
    next: str | None
    """The command to type next, if there is an obvious one; always present after an error."""


def encode(envelope: Envelope, *, in_one_line: bool) -> str:
    """Return the envelope as JSON."""
    try:
        encoded = msgspec.json.encode(envelope, enc_hook=repr)
    except UnicodeEncodeError:  # `next` repeats an argument that isn't valid UTF-8
        encoded = json.dumps(msgspec.to_builtins(envelope, enc_hook=repr), ensure_ascii=False).encode(errors="replace")
    return (encoded if in_one_line else msgspec.json.format(encoded)).decode()

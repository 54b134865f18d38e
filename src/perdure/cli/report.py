"""What a command has to say, as data and on a screen; and the envelope, the one form of all that ``--json`` prints."""

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
class Report:
    """What a command found.

    `data` is what ``--json`` shows, `show` prints the same for people. `next_command` is what they may want to type
    next, if anything suggests itself.
    """

    data: Any
    show: Callable[[Screen], None]
    status: int = OK
    next_command: str | None = None


class Failure(msgspec.Struct):
    """Why a command found nothing."""

    error: str
    """The class of the error."""
    message: str


class Envelope(msgspec.Struct):
    """What ``--json`` prints: one for a command, or one a line for a command that goes on."""

    version: int
    """Of this form: 1."""
    command: str
    """As ``events read``."""
    status: int
    """The exit status: 0, 1 when there is a problem, 2 when the command was called wrongly."""
    data: Any
    """What was found; null after an error."""
    error: Failure | None
    """What went wrong; null when nothing did."""
    next: str | None
    """The command to type next, where one suggests itself; always there after an error."""


def encode(envelope: Envelope, *, in_one_line: bool) -> str:
    """The envelope as JSON."""
    try:
        encoded = msgspec.json.encode(envelope, enc_hook=repr)
    except UnicodeEncodeError:  # an argument that isn't UTF-8, which is in what to type next
        encoded = json.dumps(msgspec.to_builtins(envelope, enc_hook=repr), ensure_ascii=False).encode(errors="replace")
    return (encoded if in_one_line else msgspec.json.format(encoded)).decode()

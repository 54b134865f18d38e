"""Fingerprints of commands: they show that a command id comes again with another command."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Any, Final, cast

import msgspec

from perdure.errors import InvalidArgumentError
from perdure.events import StoredEvent, is_pydantic

HEADER: Final = "command-fingerprint"
"""The header of the first event of a command that was given a fingerprint."""


class FingerprintSource(Enum):
    """Where the fingerprint of a command comes from, if the caller gives none.

    Attributes:
        COMMAND: The command itself, encoded.
    """

    COMMAND = "command"


def digest_of(fingerprint: bytes | str) -> str:
    """Return what is stored of a fingerprint: its SHA-256, of text as UTF-8. Raise InvalidArgumentError if it is none.

    It may hold what the request holds, and have any length. So the log has its hash only.
    """
    if not isinstance(fingerprint, bytes | str):
        raise InvalidArgumentError("fingerprint", f"must be bytes or text, not {type(fingerprint).__name__}")
    try:
        content = fingerprint.encode() if isinstance(fingerprint, str) else fingerprint
    except UnicodeEncodeError:
        raise InvalidArgumentError("fingerprint", "contains a lone surrogate, which UTF-8 can't hold") from None
    return hashlib.sha256(content).hexdigest()


def stored_digest(first: StoredEvent) -> str | None:
    """Return what the first event of a command says about its fingerprint; None if it was given none."""
    return first.metadata.headers.get(HEADER)


def encoded_command(command: object) -> bytes:
    """Return a command as bytes that are the same for equal commands: its class's name, and its fields as sorted JSON.

    Raises:
        InvalidArgumentError: it can't be encoded.
    """
    try:
        plain = msgspec.to_builtins(command, str_keys=True, order="sorted", enc_hook=_fields)
        return type(command).__qualname__.encode() + b"\0" + msgspec.json.encode(plain)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        reason = f"can't be encoded for its fingerprint ({error}): pass fingerprint=, or None to compare nothing"
        raise InvalidArgumentError("command", reason) from error


def _fields(value: object) -> dict[str, Any]:
    if is_pydantic(type(value)):
        names: dict[str, Any] = cast("Any", type(value)).model_fields
        return {name: getattr(value, name) for name in names}
    raise TypeError(f"{type(value).__name__} has no fields that JSON can hold")

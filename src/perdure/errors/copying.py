"""Copies of errors: several who wait for one thing are each told of its failure."""

from __future__ import annotations

from copy import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def copied(error: E) -> E:
    """A copy, which will have a traceback of its own; the error itself, if somebody else's, which can't be copied."""
    try:
        again = copy(error).with_traceback(error.__traceback__)
        again.__cause__ = error.__cause__
    except Exception:  # noqa: BLE001 - whatever its constructor wants
        return error
    return again

"""Shows the difference between two values, such as two states of an aggregate: field by field, or line by line."""

from __future__ import annotations

import difflib
from typing import Any, cast

import msgspec

from perdure.cli.screen import BAD, GOOD, QUIET, Screen
from perdure.cli.table import Cell

_STYLES = {"+": GOOD, "-": BAD, "@": QUIET}


class FieldChange(msgspec.Struct):
    """A field with different values before and after."""

    field: str
    before: Any
    after: Any


def field_changes(before: Any, after: Any) -> list[FieldChange]:
    """Return the fields that differ in two values. A missing field is None."""
    one, other = _fields(before), _fields(after)
    return [
        FieldChange(name, one.get(name), other.get(name))
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"state": value}


def show_difference(screen: Screen, values: tuple[Any, Any], names: tuple[str, str]) -> bool:
    """Print how the second of two values differs from the first, as JSON. Return whether it does."""
    one, other = (msgspec.json.format(msgspec.json.encode(value)).decode().splitlines() for value in values)
    lines = list(difflib.unified_diff(one, other, names[0], names[1], n=2, lineterm=""))
    for line in lines:
        screen.cells([Cell(line, _STYLES.get(line[:1], ""))])
    return bool(lines)

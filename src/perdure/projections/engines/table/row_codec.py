"""Encodes rows as JSON and decodes them, so that handlers get the same row whether or not it was in the database.

Rows are JSON on their way to the database and while events are folded. So two rows share nothing, nor do a row and an
event, and a handler that fails leaves no half-changed row behind.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import is_
from typing import Annotated, Any, Final, TypeVar, cast, get_type_hints

import msgspec
from msgspec import inspect

from perdure.errors import ProjectionRowError
from perdure.errors.formats import shown
from perdure.projections.engines.table.columns import TableColumn

Normalize = Callable[[Any], Any]
"""Normalizes a value to what PostgreSQL would return. Raises ValueError if PostgreSQL can't store it."""

_encode = msgspec.json.Encoder().encode
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_BACKSLASH: Final = ord("\\")
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_BIGINT: Any = Annotated[int, msgspec.Meta(ge=_LEAST, le=_MOST)]


class RowCodec:
    """Encodes and decodes the rows of one table.

    Args:
        table: the name of the table, for errors.
        row: the class of the rows.
        columns: the columns of the table.
    """

    def __init__(self, table: str, row: type, columns: Sequence[TableColumn]) -> None:
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder[Any](row).decode
        self._table = table
        self._row = row
        checked = _checked_class(row, columns)
        self._check = self.decode if checked is None else msgspec.json.Decoder[Any](checked).decode
        self._bigints = [] if checked is None else [column.name for column in columns if _is_plain_int(column)]
        self._normalized = [
            (column.name, normalize)
            for column in columns
            if column.name not in self._bigints and (normalize := _normalizer_of(column))
        ]

    def encode(self, row: object) -> bytes:
        """Return the row as JSON.

        Raises:
            ProjectionRowError: it isn't a row of this table, or has a value that can't be stored or read back.
        """
        if not isinstance(row, self._row):
            raise ProjectionRowError(self._table, f"it is a {type(row).__name__}, not a {self._row.__name__}")
        try:
            data = _encode(self._normalize(row) if self._normalized else row)
            self._check(data)
        except (msgspec.MsgspecError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise ProjectionRowError(self._table, self._reason(row, error)) from error
        if _BACKSLASH in data and _NUL.search(data):
            raise ProjectionRowError(self._table, "it has a NUL character, which PostgreSQL can't store")
        return data

    def _reason(self, row: object, error: Exception) -> str:
        for name in self._bigints:
            value = getattr(row, name)
            if isinstance(value, int) and not _is_bigint(value):
                return _too_large(value)
        return str(error)

    def _normalize(self, row: Any) -> Any:
        changes: dict[str, Any] = {}
        for name, normalize in self._normalized:
            value = getattr(row, name)
            if value is not None and (normal := normalize(value)) is not value:
                changes[name] = normal
        if not changes:
            return row
        return msgspec.structs.replace(row, **changes) if isinstance(row, msgspec.Struct) else _replace(row, changes)


def _checked_class(row: type, columns: Sequence[TableColumn]) -> type | None:
    """Return a class whose decoder accepts the rows that fit both their class and bigint columns.

    None if only the class itself knows what it accepts. Checking each number in Python takes twice as long.
    """
    hints = get_type_hints(row, include_extras=True)
    if hasattr(row, "__post_init__") or any(_has_variables(hint) for hint in hints.values()):
        return None
    for column in columns:
        if _is_plain_int(column):
            hints[column.name] = _BIGINT | None if column.nullable else _BIGINT
    config = getattr(row, "__struct_config__", None)
    return msgspec.defstruct(
        "Checked",
        [(column.name, hints[column.name]) for column in columns],
        forbid_unknown_fields=config is not None and config.forbid_unknown_fields,
        gc=False,
    )


def _has_variables(hint: object) -> bool:
    return isinstance(hint, TypeVar) or bool(getattr(hint, "__parameters__", ()))


def _is_plain_int(column: TableColumn) -> bool:
    return column.kind == inspect.IntType()


def _replace(row: Any, changes: dict[str, Any]) -> Any:
    return dataclasses.replace(row, **changes)


def _normalizer_of(column: TableColumn) -> Normalize | None:
    if column.sql_type == "json":
        return _document if _may_hold_nan(column.kind, set()) else None
    if isinstance(column.kind, inspect.EnumType | inspect.LiteralType):
        return None
    if column.sql_type == "timestamptz":
        return _timestamptz_of(column.name)
    return _NORMALIZERS.get(column.sql_type)


def _is_bigint(value: int) -> bool:
    return _LEAST <= value <= _MOST


def _too_large(value: int) -> str:
    return f"{value} is too large: a column takes numbers of 8 bytes; use Decimal or str"


def _bigint(value: int) -> int:
    if not _is_bigint(value):
        raise ValueError(_too_large(value))
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    # The database writes a negative zero as the whole number -0, which is read as 0.
    return 0.0 if value == 0 and math.copysign(1, value) < 0 else value


def _numeric(value: Decimal) -> Decimal:
    _check_is_a(Decimal, value)
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    exponent = value.as_tuple().exponent
    if value.adjusted() > 131071 or (isinstance(exponent, int) and exponent < -16383):
        raise ValueError(f"{value} has more digits than PostgreSQL stores")
    # PostgreSQL has no negative zero and no exponent.
    plain = Decimal(f"{value:f}") if isinstance(exponent, int) and exponent > 0 else value
    return plain.copy_abs() if plain.is_zero() and plain.is_signed() else plain


def _timestamptz_of(name: str) -> Normalize:
    def normalize(value: datetime) -> datetime:
        _check_is_a(datetime, value)
        if value.utcoffset() is None:
            raise ValueError(
                f"{name}: the datetime {value.isoformat()} has no time zone; give it one in the handler, such as "
                ".replace(tzinfo=UTC), or, if old events hold such times, in an upcaster of their type"
            )
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    return normalize


def _check_is_a(kind: type, value: object) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{shown(value)} is no {kind.__name__}")


def _elements(values: Any) -> Any:
    given = msgspec.to_builtins(values)
    normal = [each if each is None else _bigint(each) if isinstance(each, int) else _finite(each) for each in given]
    return values if all(map(is_, normal, given)) else type(values)(normal)


def _document(document: Any) -> Any:
    json.dumps(msgspec.to_builtins(document), allow_nan=False)  # raises ValueError
    return document


def _may_hold_nan(kind: inspect.Type, seen: set[int]) -> bool:
    """Return whether a value of this type can contain a NaN, which JSON would turn into null."""
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    if isinstance(kind, inspect.FloatType | inspect.AnyType):
        return True
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        for inner in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            part = inner.type if isinstance(inner, inspect.Field) else inner
            if isinstance(part, inspect.Type) and _may_hold_nan(part, seen):
                return True
    return False


_NORMALIZERS: Final[dict[str, Normalize]] = {
    "bigint": _bigint,
    "bigint[]": _elements,
    "double precision": _finite,
    "double precision[]": _elements,
    "numeric": _numeric,
}

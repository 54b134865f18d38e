"""The order of the rows that a query returns, the index that has this order, and the cursor of a place in it."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, cast, get_type_hints
from zlib import crc32

import msgspec

from perdure.errors import InvalidArgumentError, ProjectionRowError
from perdure.errors.formats import shown
from perdure.projections.engines.table.row_codec import RowCodec
from perdure.projections.engines.table.table import BYTES, Table


class RowOrder:
    """The order in which a query returns rows.

    Args:
        table: the table.
        where: the columns that have one value in all rows.
        order_by: the columns that the caller named, in order, each with a ``-`` for descending.

    Attributes:
        columns: The columns of the order. The last ones are those of the key, so that no two rows are equal.
        is_descending: Whether all of them are descending. None comes last in ascending order, and first in descending.

    Raises:
        InvalidArgumentError: there is no index of these columns, or no such column.
    """

    def __init__(self, table: Table, where: Iterable[str], order_by: object) -> None:
        given = _names_in(order_by)
        named = tuple([name.removeprefix("-") for name in given])
        self._table = table
        self._equal = frozenset(where)
        self._check_columns(named)
        self.is_descending = any(name.startswith("-") for name in given)
        if self.is_descending and not all(name.startswith("-") for name in given):
            raise InvalidArgumentError("order_by", f"{shown(order_by)} goes up and down: an index has one direction")
        self.columns = self._columns_after(named)

    def _check_columns(self, named: Sequence[str]) -> None:
        known = [column.name for column in self._table.columns]
        for argument, name in (*((name, name) for name in self._equal), *(("order_by", name) for name in named)):
            if name not in known:
                subject = "" if argument == name else f"{shown(name)} "
                raise InvalidArgumentError(
                    argument, f"{subject}is no field of {self._table.row.__name__}: {', '.join(known)}"
                )

    def _columns_after(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns of the order: those named, and those that follow in the index that serves the query."""
        named = tuple([name for name in named if name not in self._equal])
        count = len(self._equal)
        served: list[tuple[str, ...]] = []
        for index in (self._table.key, *self._table.unique, *self._table.indexes):
            columns = (*index, *[name for name in self._table.key if name not in index])
            rest = columns[count:]
            if self._equal == frozenset(columns[:count]) and rest[: len(named)] == named:
                served.append(rest)
        if not served:
            argument = "order_by" if named else ", ".join(sorted(self._equal))
            cure = f"declare indexes=[{self._missing(named)}], and rebuild the projection"
            raise InvalidArgumentError(argument, f"needs an index of {self._table.view!r}: {cure}")
        return min(served, key=len) or self._table.key

    def _missing(self, named: Sequence[str]) -> str:
        columns = (*[column.name for column in self._table.columns if column.name in self._equal], *named)
        return f'"{columns[0]}"' if len(columns) == 1 else str(columns).replace("'", '"')

    def place_of(self, row: Any) -> Any:
        """Return the place of a row in the order: comparable with other places, and larger for rows that come later."""
        values = [getattr(row, name) for name in self.columns]
        return tuple([(value is None, 0 if value is None else _plain(value)) for value in values])


class Cursor:
    """The text of a place in the order of a query.

    Args:
        table: the table.
        order: the order.
        where: the values that the query asks for, as JSON.
    """

    def __init__(self, table: Table, order: RowOrder, where: bytes) -> None:
        self._values = column_values(table, order.columns)
        question = msgspec.json.encode([table.view, order.columns, order.is_descending, where.decode()])
        self._question = crc32(question)

    def of(self, row: Any) -> str:
        """Return the cursor of a row."""
        values = msgspec.json.decode(self._values.encoded({name: getattr(row, name) for name in self._values.names}))
        return urlsafe_b64encode(msgspec.json.encode([self._question, values])).rstrip(b"=").decode()

    def decode(self, text: object) -> Any:
        """Return the values of the row for which a cursor was made.

        Raises:
            InvalidArgumentError: it isn't a cursor, or that of another query.
        """
        try:
            padded = cast("str", text).encode() + b"=" * (-len(cast("str", text)) % 4)
            question, values = msgspec.json.decode(urlsafe_b64decode(padded), type=tuple[int, msgspec.Raw])
            if question == self._question:
                place = self._values.decode(bytes(values))
                # A client may have made it up: a value that no row has might not even be comparable.
                _ = self._values.encoded({name: getattr(place, name) for name in self._values.names})
                return place
        except (AttributeError, TypeError, ValueError, RecursionError, InvalidArgumentError):
            pass  # msgspec's errors are ValueErrors
        raise InvalidArgumentError(
            "after", f"{shown(text)} isn't a cursor of this query: give the `next` of a page of the same query"
        )


class ColumnValues:
    """Values of some columns of a table, checked and encoded as in rows."""

    def __init__(self, table: Table, names: tuple[str, ...]) -> None:
        hints = get_type_hints(table.row, include_extras=True)
        by_name = {column.name: column for column in table.columns}
        self.names = names
        self._view = table.view
        self._row = msgspec.defstruct("Values", [(name, hints[name]) for name in names], frozen=True)
        self._codec = RowCodec(table.view, self._row, [by_name[name] for name in names])
        self.decode = self._codec.decode

    def encoded(self, values: Mapping[str, object]) -> bytes:
        """Return values as a JSON object.

        Raises:
            InvalidArgumentError: a value isn't of its column's type.
        """
        for name, value in values.items():
            if type(value) in BYTES:
                raise InvalidArgumentError(
                    name, f"can't be found: it is {type(value).__name__}, which JSON turns into text"
                )
        try:
            return self._codec.encode(self._row(**values))
        except ProjectionRowError as error:
            named = ", ".join(self.names)
            raise InvalidArgumentError(
                named, f"has a value that no row of {self._view!r} can have: {error.reason}"
            ) from error


@lru_cache(maxsize=512)
def column_values(table: Table, names: tuple[str, ...]) -> ColumnValues:
    """Return the values of these columns."""
    return ColumnValues(table, names)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _names_in(order_by: object) -> tuple[str, ...]:
    names: object = (order_by,) if isinstance(order_by, str) else order_by
    if isinstance(names, list | tuple):
        given = cast("Sequence[object]", names)
        if all(isinstance(name, str) for name in given):
            return tuple(cast("Sequence[str]", given))
    raise InvalidArgumentError("order_by", f'must be a field, "-field", or a list of them, not {shown(order_by)}')

"""A table of a projection, as its row class describes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from types import GenericAlias
from typing import Any, Final, cast, get_type_hints
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import inspect

from perdure.errors import InvalidArgumentError, ProjectionRowError
from perdure.errors.formats import shown
from perdure.projections.engine import Refuse, check_name
from perdure.projections.engines.table.columns import TableColumn, columns_of
from perdure.projections.engines.table.row_codec import RowCodec
from perdure.projections.state.identity import BuildId, Key, TableShape, table_name

BYTES: Final = (bytes, bytearray, memoryview)
"""Types that JSON would turn into text."""


class Table:
    """A table of rows of one class, and the view under which users query it.

    Args:
        view: the name of the view. The table's own name has the version: ``user_profiles__v1``.
        build: the build of the projection.
        row: the class of the rows.
        key: the fields that identify a row.
        refuse: returns the error to raise, given the reason why the class can't be used.
        indexes: the fields of each declared index.
        unique: the fields that no two rows may have in common.
    """

    def __init__(
        self,
        view: str,
        build: BuildId,
        row: Any,
        key: tuple[str, ...],
        refuse: Refuse,
        *,
        indexes: Sequence[tuple[str, ...]] = (),
        unique: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self.view = view
        self.name = table_name(view, build)
        self.row = row
        self.key = key
        self.columns = columns_of(row, refuse)
        check_name(self.name, refuse, "table")
        for column in self.columns:
            check_name(column.name, refuse, "column")
        self.unique = tuple(unique)
        self.indexes = tuple([(*fields, *[name for name in key if name not in fields]) for fields in indexes])
        """The columns of each index: those of the key at the end, so that rows of equal values have an order."""
        self._check_indexed(refuse)
        self.codec = RowCodec(view, row, self.columns)
        hints = get_type_hints(row, include_extras=True)
        self._key_row: Any = msgspec.defstruct(
            "Key", [(column.name, hints[column.name]) for column in self._key(refuse)], gc=False
        )
        self._key_codec = RowCodec(view, self._key_row, self._key(refuse))
        self._decode_keys = msgspec.json.Decoder[Any](GenericAlias(list, (self._key_row,))).decode
        self._key_of = attrgetter(*key)
        self._unchanged = [_unchanged_test(column) for column in self._key(refuse)]
        self._is_single = len(key) == 1

    def _key(self, refuse: Refuse) -> list[TableColumn]:
        by_name = {column.name: column for column in self.columns}
        for name in self.key:
            if name not in by_name:
                raise refuse(f"{self.row.__name__} has no field {shown(name)}, which is in the key of {self.view!r}")
            if not by_name[name].may_be_key:
                raise refuse(
                    f"field {name!r} of {self.row.__name__} can't be in a key: use str, int, UUID, an Enum or a date"
                )
        return [by_name[name] for name in self.key]

    def _check_indexed(self, refuse: Refuse) -> None:
        by_name = {column.name: column for column in self.columns}
        for option, declared in (("indexes", self.indexes), ("unique", self.unique)):
            for name in (name for fields in declared for name in fields if name not in self.key):
                if name not in by_name:
                    raise refuse(
                        f"{self.row.__name__} has no field {shown(name)}, which is in {option} of {self.view!r}"
                    )
                if not by_name[name].may_be_indexed:
                    raise refuse(
                        f"field {name!r} of {self.row.__name__} can't be in {option}: its column is "
                        f"{by_name[name].sql_type}, whose values have no order; use a plain type"
                    )

    @property
    def bytewise(self) -> frozenset[str]:
        """The columns by which rows are found: their text is compared bytewise, in every database alike."""
        return frozenset(self.key).union(*self.indexes, *self.unique)

    @property
    def key_types(self) -> tuple[str, ...]:
        """The SQL types of the key's columns."""
        types = {column.name: column.sql_type for column in self.columns}
        return tuple(types[name] for name in self.key)

    @property
    def shape(self) -> TableShape:
        """What can't change without a new version."""
        columns = {column.name: column.sql_type + ("" if column.nullable else " not null") for column in self.columns}
        return TableShape(self.name, self.view, self.key, columns, self.unique, self.indexes)

    def key_of(self, row: Any) -> Key:
        """Return the key of a row."""
        return (self._key_of(row),) if self._is_single else self._key_of(row)

    def to_key(self, value: Any) -> Key:
        """Return the key that a user gave: a value, or a tuple if the key has several fields.

        Raises:
            ProjectionRowError: no row of this table could have it.
        """
        if self._is_single and self._unchanged[0](value):
            return (value,)
        values: object = (value,) if self._is_single else value
        if not isinstance(values, tuple):
            raise ProjectionRowError(self.view, f"{shown(value)} can't be a key ({', '.join(self.key)}): give a tuple")
        key = tuple(cast("tuple[object, ...]", values))  # a named tuple becomes a plain one
        if self._is_stored_unchanged(key):
            return key
        try:
            return _values(self._key_codec.decode(self._key_codec.encode(self._key_row(*key))))
        except (ProjectionRowError, TypeError) as error:
            reason = error.reason if isinstance(error, ProjectionRowError) else str(error)
            raise ProjectionRowError(
                self.view, f"{shown(value)} can't be a key ({', '.join(self.key)}): {reason}"
            ) from error

    def asked_key(self, value: object) -> Key:
        """Return the key of a row that a caller asks for, as `to_key` does. Bytes are refused: JSON makes them text.

        Raises:
            InvalidArgumentError: no row of this table could have it.
        """
        if type(value) in BYTES:
            raise InvalidArgumentError("key", f"{shown(value)} can't be a key of {self.view!r} ({', '.join(self.key)})")
        try:
            return self.to_key(value)
        except ProjectionRowError as error:
            raise InvalidArgumentError("key", f"{error.reason}; rows of {self.view!r} have no such key") from error

    def _is_stored_unchanged(self, values: Key) -> bool:
        """Return whether the values certainly survive encoding and decoding. Takes a tenth of the time of doing it."""
        if len(values) != len(self._unchanged):
            return False
        for value, is_unchanged in zip(values, self._unchanged, strict=True):  # noqa: SIM110 - a generator costs twice as much
            if not is_unchanged(value):
                return False
        return True

    def encode_keys(self, keys: Iterable[Key]) -> bytes:
        """Return the keys as a JSON list of objects."""
        return msgspec.json.encode([self._key_row(*key) for key in keys])

    def encode_key(self, key: Key) -> str:
        """Return the key as a JSON object."""
        return msgspec.json.encode(self._key_row(*key)).decode()

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        """Return the keys that `encode_key` encoded."""
        return [_values(key) for key in self._decode_keys(f"[{','.join(keys)}]")]

    def hash_of(self, key: Key) -> int:
        """Return the hash of a key: 16 bits that decide its segment. It must never change: rows depend on it."""
        # The lower half: in the upper half, keys of one letter are all neighbours.
        return crc32(msgspec.json.encode(key)) & 0xFFFF

    def rows_by_key(self, document: str) -> dict[Key, bytes]:
        """Return the rows of a JSON list by key, each as JSON."""
        rows = _split(document)
        keys = self._decode_keys(document)
        return {_values(key): bytes(row) for key, row in zip(keys, rows, strict=True)}


def _unchanged_test(column: TableColumn) -> Callable[[Any], bool]:
    """Return a quick test whether a value of a key's column is stored as it is."""
    for kind, is_unchanged in _UNCHANGED:
        if column.kind == kind:  # the same type without constraints
            return is_unchanged
    return lambda _: False


def _is_plain_text(value: Any) -> bool:
    return type(value) is str and value.isascii() and "\x00" not in value


def _is_bigint(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_uuid(value: Any) -> bool:
    return type(value) is UUID


_UNCHANGED: Final = (
    (inspect.StrType(), _is_plain_text),
    (inspect.IntType(), _is_bigint),
    (inspect.UUIDType(), _is_uuid),
)
_values = msgspec.structs.astuple
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode

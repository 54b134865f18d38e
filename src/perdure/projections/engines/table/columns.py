"""Derives the columns of a table from the fields of its row class. Pure."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import inspect

from perdure.errors.formats import shown
from perdure.projections.engine import Refuse


class TableColumn(NamedTuple):
    """A column of a table, and the field that it stores."""

    name: str
    sql_type: str
    nullable: bool
    kind: inspect.Type
    """The field's type without ``| None``."""
    is_required: bool = True
    """Whether the field has no default."""

    @property
    def may_be_key(self) -> bool:
        """Whether equal values have only one form, in the database and in JSON."""
        return self.sql_type in _KEY_TYPES and not self.nullable

    @property
    def may_be_indexed(self) -> bool:
        """Whether the database and Python agree on the order of its values."""
        return self.sql_type in _ORDERED_TYPES


_SCALARS: Final[dict[type, str]] = {
    inspect.StrType: "text",
    inspect.BoolType: "boolean",
    inspect.IntType: "bigint",
    inspect.FloatType: "double precision",
    inspect.DecimalType: "numeric",
    inspect.DateTimeType: "timestamptz",
    inspect.DateType: "date",
    inspect.UUIDType: "uuid",
}
_FIXES: Final[dict[type, str]] = {
    inspect.BytesType: "bytes: use str (base64), or store the content elsewhere and its address in the row",
    inspect.ByteArrayType: "bytearray: use str (base64), or store the content elsewhere and its address in the row",
    inspect.MemoryViewType: "memoryview: use str (base64), or store the content elsewhere and its address in the row",
    inspect.TimeDeltaType: "timedelta: use a number of seconds",
    inspect.TimeType: "time: use str, or a datetime",
    inspect.NoneType: "None: give it the type of the values it will have",
}
_ARRAYS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_KEY_TYPES = {"text", "boolean", "bigint", "timestamptz", "date", "uuid"}
_ORDERED_TYPES = _KEY_TYPES | {"numeric", "double precision"}


def columns_of(row: Any, refuse: Refuse) -> tuple[TableColumn, ...]:
    """Return the columns of a row class, in the order of its fields.

    Args:
        row: a dataclass or a msgspec Struct.
        refuse: returns the error to raise, given the reason why the class can't be used.
    """
    if not isinstance(row, type) or not (dataclasses.is_dataclass(row) or issubclass(row, msgspec.Struct)):
        raise refuse(f"{shown(cast('object', row))} isn't a row class: use a dataclass or a msgspec Struct")
    try:
        info = inspect.type_info(row)
    except (TypeError, NameError) as error:
        raise refuse(f"the fields of {row.__name__} can't be stored: {error}") from error
    assert isinstance(info, inspect.StructType | inspect.DataclassType)  # noqa: S101 - what these classes are described as
    if _is_encoded_otherwise(row, info):
        raise refuse(
            f"{row.__name__} isn't encoded by its field names: leave out rename, tag, array_like and omit_defaults"
        )
    return tuple([_column(row, field, refuse) for field in info.fields])


def _is_encoded_otherwise(row: type, info: inspect.StructType | inspect.DataclassType) -> bool:
    if isinstance(info, inspect.DataclassType):
        return False
    config = getattr(row, "__struct_config__")  # noqa: B009 - the stubs know it on instances only
    renamed = any(field.name != field.encode_name for field in info.fields)
    return bool(renamed or info.tag or info.array_like or config.omit_defaults)


def _column(row: type, field: inspect.Field, refuse: Refuse) -> TableColumn:
    kind, nullable = _without_none(field.type)
    sql_type = _scalar(kind)
    if type(kind) in _FIXES:
        raise refuse(f"field {field.name!r} of {row.__name__} has type {_FIXES[type(kind)]}")
    if isinstance(kind, inspect.CustomType):
        raise refuse(
            f"field {field.name!r} of {row.__name__} has type {kind.cls.__qualname__}, which can't be stored: "
            "use a plain type, or make that class a dataclass or a msgspec Struct"
        )
    return TableColumn(field.encode_name, sql_type or _array(kind) or "json", nullable, kind, field.required)


def _without_none(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """Return the type without ``| None`` and annotations, and whether None is one of its values."""
    if isinstance(kind, inspect.Metadata):
        return _without_none(kind.type)
    if isinstance(kind, inspect.AnyType):
        return kind, True
    if not isinstance(kind, inspect.UnionType):
        return kind, False
    rest = tuple(part for part in kind.types if not isinstance(part, inspect.NoneType))
    nullable = len(rest) < len(kind.types)
    return (_without_none(rest[0])[0] if len(rest) == 1 else kind), nullable


def _scalar(kind: inspect.Type) -> str | None:
    if isinstance(kind, inspect.EnumType):
        return _type_of_values([member.value for member in _members(kind.cls)])
    if isinstance(kind, inspect.LiteralType):
        return _type_of_values(list(kind.values))
    return _SCALARS.get(type(kind))


def _members(cls: type[Enum]) -> list[Enum]:
    return list(cls)


def _type_of_values(values: list[Any]) -> str | None:
    if all(isinstance(value, str) for value in values):
        return "text"
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "bigint"
    return None


def _array(kind: inspect.Type) -> str | None:
    """Return the array type for plain values; None for values that PostgreSQL returns in another form than JSON."""
    if not isinstance(kind, _ARRAYS):
        return None
    item = _scalar(_without_none(kind.item_type)[0])
    return f"{item}[]" if item and item not in ("timestamptz", "numeric") else None

"""Walks the values of an event, of whatever classes they are, down to those that hold no others: its leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

_type_of: Any = type
_COMMON: Final = frozenset({NoneType, bool, int, float, str, Decimal, UUID, datetime})


class Leaf(NamedTuple):
    """A value that holds no others, and where it is."""

    path: str
    """Such as ``items[3].price``; empty for the event itself."""
    value: object


def leaves_of(value: Any, path: str = "") -> Iterator[Leaf]:
    """Yield the leaves of a value. The keys of dicts are leaves, too."""
    kind = _type_of(value)
    if kind in _COMMON:  # the usual case; the other checks are slower
        yield Leaf(path, value)
    elif isinstance(value, Mapping):
        for key, one in cast("Any", value).items():
            yield from leaves_of(key, f"{path}, a key")
            yield from leaves_of(one, _below(path, key) if _is_name(key) else f"{path}[{key!r:.80}]")
    elif isinstance(value, set | frozenset):
        for one in cast("set[Any]", value):
            yield from leaves_of(one, f"{path}, a member")
    elif isinstance(value, list | tuple) and not hasattr(kind, "_fields"):
        for number, one in enumerate(cast("list[Any]", value)):
            yield from leaves_of(one, f"{path}[{number}]")
    elif (parts := _parts_of(value)) is not None:
        for name, one in parts:
            yield from leaves_of(one, _below(path, name))
    else:
        yield Leaf(path, value)


def is_pydantic(cls: type) -> bool:
    """Return whether a class is a pydantic model. Checks for a method, to avoid importing pydantic."""
    return hasattr(cls, "model_validate_json")


def _parts_of(value: Any) -> Iterator[tuple[str, object]] | None:
    """Return the fields of a Struct, a dataclass, an attrs class, a model or a NamedTuple; None for anything else."""
    kind = _type_of(value)
    if is_pydantic(kind):
        return iter(cast("Iterable[tuple[str, object]]", value))
    for attribute in ("__struct_fields__", "__dataclass_fields__", "_fields"):
        if (names := getattr(kind, attribute, None)) is not None:
            return ((name, getattr(value, name, None)) for name in names)
    if (fields := getattr(kind, "__attrs_attrs__", None)) is not None:
        return ((one.name, getattr(value, one.name, None)) for one in fields)
    return None


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier()

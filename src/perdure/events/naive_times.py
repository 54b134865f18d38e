"""Finds datetimes without a time zone in events: they name no moment, so events that hold them aren't stored.

Events that were stored with such values, by older code or by another client, stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from perdure.errors import EventEncodingError
from perdure.events.storable import is_pydantic

_PERHAPS_NAIVE = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?"')
"""A datetime as msgspec encodes it, without the offset from UTC that would follow."""


_type_of: Any = type


def may_be_naive(data: bytes) -> bool:
    """Return whether the JSON, encoded by msgspec, may come from a datetime without a time zone."""
    return _PERHAPS_NAIVE.search(data) is not None


def refuse_naive(event_type: str, event: object) -> None:
    """Raise EventEncodingError if the event holds a datetime without a time zone, at any depth."""
    if found := next(_naive_times(event, ""), None):
        raise EventEncodingError(event_type, str(found))


class _NaiveTime(NamedTuple):
    """A datetime without a time zone, and where it is."""

    path: str
    time: datetime

    def __str__(self) -> str:
        return (
            f"{self.path.removeprefix('.')}: the datetime {self.time.isoformat()} has no time zone; "
            "make it with datetime.now(UTC), or give it the zone of its clock, such as .replace(tzinfo=UTC)"
        )


def _naive_times(value: Any, path: str) -> Iterator[_NaiveTime]:
    kind = _type_of(value)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            yield _NaiveTime(path, value)
    elif isinstance(value, Mapping):
        for key, one in cast("Any", value).items():
            yield from _naive_times(key, f"{path}, a key")
            yield from _naive_times(one, f"{path}.{key}" if _is_name(key) else f"{path}[{key!r:.80}]")
    elif isinstance(value, set | frozenset):
        for one in cast("set[Any]", value):
            yield from _naive_times(one, f"{path}, a member")
    elif isinstance(value, list | tuple) and not hasattr(kind, "_fields"):
        for number, one in enumerate(cast("list[Any]", value)):
            yield from _naive_times(one, f"{path}[{number}]")
    else:
        for name, one in _parts_of(value):
            yield from _naive_times(one, f"{path}.{name}")


def _parts_of(value: Any) -> Iterator[tuple[str, object]]:
    """Yield the fields of an object that was encoded: a Struct, a dataclass, an attrs class, a model, a NamedTuple."""
    kind = _type_of(value)
    if is_pydantic(kind):
        yield from value
        return
    for attribute in ("__struct_fields__", "__dataclass_fields__", "_fields"):
        if names := getattr(kind, attribute, ()):
            yield from [(name, getattr(value, name, None)) for name in names]
            return
    for one in getattr(kind, "__attrs_attrs__", ()):
        yield one.name, getattr(value, one.name, None)


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier()

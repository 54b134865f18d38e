"""Deep copies that share only immutable values: the result of `copy.deepcopy`, but faster for plain data.

This module copies lists, dicts, sets, tuples, Structs and ordinary objects. It passes everything else, such as
subclasses of `dict` or classes with their own copy methods, to `copy.deepcopy` with the same memo. So two references to
one list are two references to one list in the copy, too.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable, Hashable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec.structs import force_setattr

T = TypeVar("T")

Memo = dict[int, Any]
"""The copies made so far by the id of their originals, as in `copy.deepcopy`."""
_Copy = Callable[[Any, Memo], Any]

_IMMUTABLE: Final = frozenset(
    {NoneType, bool, int, float, complex, str, bytes, Decimal, UUID, date, datetime, time, timedelta, timezone}
)
"""Types with immutable values, which copies may share. Exactly these types, no subclasses."""
_type_of: Any = type
_COPY_METHODS: Final = ("__deepcopy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__post_init__")
"""Methods with which a class customizes `copy.deepcopy`."""
_HEAP_TYPE: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the flag of types made by a class statement, as opposed to built-in types."""


def own_copy(value: T, memo: Memo | None = None) -> T:
    """Return a copy that shares no mutable object with the original.

    Args:
        value: the original.
        memo: copies that exist already, by the ids of their originals.

    Raises the errors of `copy.deepcopy` for values that can't be copied.
    """
    return cast("T", _copied(value, {} if memo is None else memo))


def _copied(value: Any, memo: Memo) -> Any:
    kind = _type_of(value)
    if kind in _IMMUTABLE:
        return value
    known = memo.get(id(value), memo)  # the memo itself means "no copy", because None may be a copy
    if known is not memo:
        return known
    return _copy_function(kind)(value, memo)


def _are_immutable(values: Iterable[Any]) -> bool:
    kinds = list(map(type, values))
    if kinds and kinds[0] not in _IMMUTABLE:
        return False
    # Usually all are of one type, and counting them is faster than looking each of them up.
    return not kinds or kinds.count(kinds[0]) == len(kinds) or _IMMUTABLE.issuperset(kinds)


def _list(value: list[Any], memo: Memo) -> list[Any]:
    if _are_immutable(value):
        memo[id(value)] = flat = value.copy()
        return flat
    rows = _rows(value, memo)
    if rows is not None:
        memo[id(value)] = rows
        return rows
    copied: list[Any] = []
    memo[id(value)] = copied
    for one in value:  # no comprehension: its frame would halve the possible depth of nested lists
        copied.append(one if type(one) in _IMMUTABLE else _copied(one, memo))  # noqa: PERF401 - see the line above
    return copied


def _dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    has_plain_keys = _are_immutable(value)
    if has_plain_keys and _are_immutable(value.values()):
        memo[id(value)] = flat = value.copy()
        return flat
    rows = _rows(list(value.values()), memo) if has_plain_keys else None
    if rows is not None:
        memo[id(value)] = filled = dict(zip(value, rows, strict=True))
        return filled
    copied: dict[Any, Any] = {}
    memo[id(value)] = copied
    for key, one in value.items():
        own = key if type(key) in _IMMUTABLE else _copied(key, memo)
        copied[own] = one if type(one) in _IMMUTABLE else _copied(one, memo)
    return copied


def _rows(rows: list[Any], memo: Memo) -> list[Any] | None:
    """Copy many dicts of immutable values at once; return None if any of them is something else."""
    if set(map(type, rows)) != {dict}:
        return None
    values = chain.from_iterable(map(dict[Any, Any].values, rows))
    if not (_are_immutable(values) and _are_immutable(chain.from_iterable(rows))):
        return None
    copies = [row.copy() for row in rows]
    made = dict(zip(map(id, rows), copies, strict=True))
    if len(made) < len(rows) or not memo.keys().isdisjoint(made):
        return None  # a row occurs twice, and so must its copy
    memo.update(made)
    return copies


def _set(value: set[Any], memo: Memo) -> set[Any]:
    if _are_immutable(value):
        memo[id(value)] = flat = value.copy()
        return flat
    copied: set[Any] = set()
    memo[id(value)] = copied
    for one in value:
        copied.add(_copied(one, memo))
    return copied


def _immutable(value: Any, memo: Memo) -> Any:
    if _IMMUTABLE.issuperset(map(type, value)):
        return value
    parts: list[Any] = [_copied(one, memo) for one in value]
    if id(value) in memo:  # one of its parts refers back to it
        return memo[id(value)]
    if all(mine is other for mine, other in zip(parts, value, strict=True)):
        return value
    copied = memo[id(value)] = type(value)(parts)
    return copied


def _struct(value: msgspec.Struct, memo: Memo) -> msgspec.Struct:
    fields = value.__struct_fields__
    is_frozen = value.__struct_config__.frozen
    parts: list[Any] = [getattr(value, name, None) for name in fields]
    # A frozen Struct may still have mutable values outside its fields, such as a cached property.
    if is_frozen and _IMMUTABLE.issuperset(map(type, parts)) and not hasattr(value, "__dict__"):
        return value
    copied = memo[id(value)] = copy.copy(value)
    for name, mine in zip(fields, parts, strict=True):
        if type(mine) not in _IMMUTABLE:
            force_setattr(copied, name, _copied(mine, memo))
    return copied


def _ordinary(value: Any, memo: Memo) -> Any:
    # Calls what deepcopy calls, so that it refuses the same objects.
    _, made_of, state, *_ = value.__reduce_ex__(4)
    copied = memo[id(value)] = made_of[0].__new__(*made_of)
    attributes, slots = cast("tuple[Any, Any]", state) if isinstance(state, tuple) else (state, None)
    if attributes:
        copied.__dict__.update({name: _copied(one, memo) for name, one in attributes.items()})
    for name, one in cast("dict[str, Any]", slots or {}).items():
        setattr(copied, name, _copied(one, memo))
    return copied


def _by_deepcopy(value: Any, memo: Memo) -> Any:
    return copy.deepcopy(value, memo)


_BUILT_IN: Final[dict[type, _Copy]] = {
    list: _list,
    dict: _dict,
    set: _set,
    tuple: _immutable,
    frozenset: _immutable,
}


@lru_cache(maxsize=1024)
def _copy_function(kind: Hashable) -> _Copy:
    cls: Any = kind
    root: Any = msgspec.Struct
    if known := _BUILT_IN.get(cls):
        return known
    if _customizes_copies(cls):
        return _by_deepcopy
    if issubclass(cls, root):
        is_plain = cls.__reduce__ is root.__reduce__ and cls.__copy__ is root.__copy__
        return _struct if is_plain else _by_deepcopy
    is_plain = cls.__reduce__ is object.__reduce__ and cls.__getstate__ is object.__getstate__
    return _ordinary if is_plain and all(one.__flags__ & _HEAP_TYPE for one in cls.__mro__[:-1]) else _by_deepcopy


def _customizes_copies(cls: type) -> bool:
    reduce: Any = object.__reduce_ex__
    is_own = cast("Any", cls).__reduce_ex__ is not reduce or cls in copyreg.dispatch_table
    return is_own or any(hasattr(cls, name) for name in _COPY_METHODS)

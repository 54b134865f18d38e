"""Copies of states that share nothing that can change: what `copy.deepcopy` makes, but faster for plain data.

Lists, dicts, sets, tuples, Structs and ordinary objects are copied here. Everything else, such as subclasses of `dict`
or classes with ways of their own to be copied, goes through `copy.deepcopy` with the same memo. So two references to
one list are two references to one list in the copy, too, whichever way led to them.
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
"""The copy of each object by its id, as `copy.deepcopy` keeps it."""
_Copy = Callable[[Any, Memo], Any]

_SHARED: Final = frozenset(
    {NoneType, bool, int, float, complex, str, bytes, Decimal, UUID, date, datetime, time, timedelta, timezone}
)
"""Types whose values never change, so that a copy may hold the same object. Exactly these: no subclasses."""
_type_of: Any = type
_OWN_WAYS: Final = ("__deepcopy__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__post_init__")
"""Methods by which a class takes part in how `copy.deepcopy` copies it."""
_BY_CLASS: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a type that a class statement made, as opposed to those that are built in."""


def own_copy(value: T, memo: Memo | None = None) -> T:
    """A copy in which nothing that can change is shared with the original.

    Args:
        value: what is copied.
        memo: copies that are there already, by the ids of their originals.

    Raises what `copy.deepcopy` raises for values that can't be copied.
    """
    return cast("T", _copied(value, {} if memo is None else memo))


def _copied(value: Any, memo: Memo) -> Any:
    kind = _type_of(value)
    if kind in _SHARED:
        return value
    known = memo.get(id(value), memo)  # the memo itself stands for no copy, as None may be one
    if known is not memo:
        return known
    return _way_of(kind)(value, memo)


def _are_shared(values: Iterable[Any]) -> bool:
    kinds = list(map(type, values))
    if kinds and kinds[0] not in _SHARED:
        return False
    # Most are all of one type, and it is faster to count them than to look each of them up.
    return not kinds or kinds.count(kinds[0]) == len(kinds) or _SHARED.issuperset(kinds)


def _list(value: list[Any], memo: Memo) -> list[Any]:
    if _are_shared(value):
        memo[id(value)] = flat = value.copy()
        return flat
    rows = _flat_rows(value, memo)
    if rows is not None:
        memo[id(value)] = rows
        return rows
    twin: list[Any] = []
    memo[id(value)] = twin
    for one in value:  # no comprehension: its frame would halve how deep lists may be nested
        twin.append(one if type(one) in _SHARED else _copied(one, memo))  # noqa: PERF401 - as said above
    return twin


def _dict(value: dict[Any, Any], memo: Memo) -> dict[Any, Any]:
    has_plain_keys = _are_shared(value)
    if has_plain_keys and _are_shared(value.values()):
        memo[id(value)] = flat = value.copy()
        return flat
    rows = _flat_rows(list(value.values()), memo) if has_plain_keys else None
    if rows is not None:
        memo[id(value)] = filled = dict(zip(value, rows, strict=True))
        return filled
    twin: dict[Any, Any] = {}
    memo[id(value)] = twin
    for key, one in value.items():
        own = key if type(key) in _SHARED else _copied(key, memo)
        twin[own] = one if type(one) in _SHARED else _copied(one, memo)
    return twin


def _flat_rows(rows: list[Any], memo: Memo) -> list[Any] | None:
    """Copies of many dicts that hold only what may be shared, in one go; None when they aren't all such dicts."""
    if set(map(type, rows)) != {dict}:
        return None
    values = chain.from_iterable(map(dict[Any, Any].values, rows))
    if not (_are_shared(values) and _are_shared(chain.from_iterable(rows))):
        return None
    twins = [row.copy() for row in rows]
    made = dict(zip(map(id, rows), twins, strict=True))
    if len(made) < len(rows) or not memo.keys().isdisjoint(made):
        return None  # a row stands there twice, and so must its copy
    memo.update(made)
    return twins


def _set(value: set[Any], memo: Memo) -> set[Any]:
    if _are_shared(value):
        memo[id(value)] = flat = value.copy()
        return flat
    twin: set[Any] = set()
    memo[id(value)] = twin
    for one in value:
        twin.add(_copied(one, memo))
    return twin


def _unchangeable(value: Any, memo: Memo) -> Any:
    """A tuple or a frozenset: the same one, unless it holds what can change."""
    if _SHARED.issuperset(map(type, value)):
        return value
    parts: list[Any] = [_copied(one, memo) for one in value]
    if id(value) in memo:  # one of its parts leads back to it
        return memo[id(value)]
    if all(mine is other for mine, other in zip(parts, value, strict=True)):
        return value
    twin = memo[id(value)] = type(value)(parts)
    return twin


def _struct(value: msgspec.Struct, memo: Memo) -> msgspec.Struct:
    fields = value.__struct_fields__
    is_frozen = value.__struct_config__.frozen
    parts: list[Any] = [getattr(value, name, None) for name in fields]
    # A frozen one may still keep what can change beside its fields, as a cached property does.
    if is_frozen and _SHARED.issuperset(map(type, parts)) and not hasattr(value, "__dict__"):
        return value
    twin = memo[id(value)] = copy.copy(value)
    for name, mine in zip(fields, parts, strict=True):
        if type(mine) not in _SHARED:
            force_setattr(twin, name, _copied(mine, memo))
    return twin


def _ordinary(value: Any, memo: Memo) -> Any:
    """An object whose state is its attributes, in a dict or in slots."""
    # Asked in the same way, what can't be copied is refused in the same way.
    _, made_of, state, *_ = value.__reduce_ex__(4)
    twin = memo[id(value)] = made_of[0].__new__(*made_of)
    attributes, slots = cast("tuple[Any, Any]", state) if isinstance(state, tuple) else (state, None)
    if attributes:
        twin.__dict__.update({name: _copied(one, memo) for name, one in attributes.items()})
    for name, one in cast("dict[str, Any]", slots or {}).items():
        setattr(twin, name, _copied(one, memo))
    return twin


def _by_deepcopy(value: Any, memo: Memo) -> Any:
    return copy.deepcopy(value, memo)


_BUILT_IN: Final[dict[type, _Copy]] = {
    list: _list,
    dict: _dict,
    set: _set,
    tuple: _unchangeable,
    frozenset: _unchangeable,
}


@lru_cache(maxsize=1024)
def _way_of(kind: Hashable) -> _Copy:
    """How values of exactly this type are copied."""
    cls: Any = kind
    root: Any = msgspec.Struct
    if known := _BUILT_IN.get(cls):
        return known
    if _takes_part(cls):
        return _by_deepcopy
    if issubclass(cls, root):
        is_plain = cls.__reduce__ is root.__reduce__ and cls.__copy__ is root.__copy__
        return _struct if is_plain else _by_deepcopy
    is_plain = cls.__reduce__ is object.__reduce__ and cls.__getstate__ is object.__getstate__
    return _ordinary if is_plain and all(one.__flags__ & _BY_CLASS for one in cls.__mro__[:-1]) else _by_deepcopy


def _takes_part(cls: type) -> bool:
    """Whether the class says itself how it is copied."""
    reduce: Any = object.__reduce_ex__
    is_own = cast("Any", cls).__reduce_ex__ is not reduce or cls in copyreg.dispatch_table
    return is_own or any(hasattr(cls, name) for name in _OWN_WAYS)

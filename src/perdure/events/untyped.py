"""Values in fields typed `Any`: which of them JSON doesn't give back as they are.

Nothing tells a reader what such a value was, so it comes back as what JSON has: a `Decimal` as text, a tuple as a list.
Whether a type holds such a field, and where, is found out once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Final, NamedTuple, cast

from msgspec import inspect

_type_of: Any = type
_PLAIN: Final = frozenset({NoneType, bool, int, float, str})
_NAMES: Final = frozenset({str})
_ADVICE: Final = "declare its type, or write it as what JSON has"


class Change(NamedTuple):
    """A value that comes back as something else."""

    path: str
    """Where it stands: ``payload.items[3].price``."""
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.')}: {self.was} would come back as {self.becomes}; {_ADVICE}"


Look = Callable[[Any, Any, str], Iterator[Change]]
"""For a value, what came back of it, and its path: what differs in it."""


class Untyped:
    """Where a type holds values of any kind."""

    def __init__(self) -> None:
        self._looks: dict[int, Look] = {}

    def look_for(self, info: inspect.Type, within: frozenset[int] = frozenset()) -> Look | None:
        """What finds the changed values in a value of that type; None where it can hold none."""
        if isinstance(info, inspect.AnyType):
            return changes
        if isinstance(info, inspect.Metadata):
            return self.look_for(info.type, within)
        if id(info) in within:  # a type that holds itself: by the time it is called, it is known
            return self._later(info)
        look = self._made(info, within | {id(info)})
        if look is not None:
            self._looks[id(info)] = look
        return look

    def _later(self, info: inspect.Type) -> Look:
        def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
            yield from self._looks.get(id(info), _nothing)(value, back, path)

        return look_at

    def _made(self, info: inspect.Type, within: frozenset[int]) -> Look | None:
        if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.NamedTupleType):
            return self._in_fields(info.fields, within, getattr)
        if isinstance(info, inspect.TypedDictType):
            return self._in_fields(info.fields, within, _item)
        if isinstance(info, inspect.UnionType):
            return self._in_one_of(info, within)
        if isinstance(info, inspect.DictType):
            return self._in_dict(info, within)
        return self._in_collection(info, within)

    def _in_collection(self, info: inspect.Type, within: frozenset[int]) -> Look | None:
        if isinstance(info, inspect.ListType | inspect.VarTupleType):
            return _each(self.look_for(info.item_type, within))
        if isinstance(info, inspect.SetType | inspect.FrozenSetType):
            return _members if self.look_for(info.item_type, within) else None
        if isinstance(info, inspect.TupleType):
            return _in_turn([self.look_for(one, within) for one in info.item_types])
        return None

    def _in_fields(
        self, fields: Iterable[inspect.Field], within: frozenset[int], get: Callable[[Any, str], Any]
    ) -> Look | None:
        looks = [(field.name, look) for field in fields if (look := self.look_for(field.type, within))]

        def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
            for name, look in looks:
                try:
                    own, theirs = get(value, name), get(back, name)
                except (AttributeError, KeyError):  # left out, as a TypedDict may
                    continue
                yield from look(own, theirs, f"{path}.{name}")

        return look_at if looks else None

    def _in_one_of(self, info: inspect.UnionType, within: frozenset[int]) -> Look | None:
        if any(isinstance(one, inspect.AnyType) for one in info.types):
            return changes
        looks = [(one, look) for one in info.types if (look := self.look_for(one, within))]

        def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
            for one, look in looks:
                if _is_of(back, one):
                    yield from look(value, back, path)

        return look_at if looks else None

    def _in_dict(self, info: inspect.DictType, within: frozenset[int]) -> Look | None:
        in_key, in_value = self.look_for(info.key_type, within), self.look_for(info.value_type, within)

        def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
            pairs = zip(cast("dict[Any, Any]", value).items(), cast("dict[Any, Any]", back).items(), strict=False)
            for (key, one), (key_back, one_back) in pairs:
                yield from _changed_key(key, key_back, path) if in_key else ()
                yield from in_value(one, one_back, _at(path, key)) if in_value else ()

        return look_at if in_key or in_value else None


def changes(value: Any, back: Any, path: str) -> Iterator[Change]:
    """What differs, all the way down, between a value of any type and what came back of it."""
    if _is_plain(value):
        return
    kind = _type_of(value)
    if kind is not _type_of(back):
        yield Change(path, _kind(value), _kind(back))
    elif kind is dict:
        yield from _in_any_dict(value, back, path)
    elif kind in (list, tuple):
        yield from _in_any_list(value, back, path)


def _is_plain(value: Any) -> bool:
    """Whether JSON has it. If so, and if it is equal to what comes back, it is the same."""
    kind = _type_of(value)
    if kind is dict:
        names, parts = value, value.values()
    elif kind is list:
        names, parts = (), value
    else:
        return kind in _PLAIN
    return _NAMES.issuperset(map(type, names)) and (_PLAIN.issuperset(map(type, parts)) or all(map(_is_plain, parts)))


def _in_any_dict(value: Mapping[Any, Any], back: Mapping[Any, Any], path: str) -> Iterator[Change]:
    for (key, one), (key_back, one_back) in zip(value.items(), back.items(), strict=False):
        yield from _changed_key(key, key_back, path)
        yield from changes(one, one_back, _at(path, key))


def _in_any_list(value: Collection[Any], back: Collection[Any], path: str) -> Iterator[Change]:
    for number, (one, one_back) in enumerate(zip(value, back, strict=False)):
        yield from changes(one, one_back, f"{path}[{number}]")


def _changed_key(key: Any, back: Any, path: str) -> Iterator[Change]:
    if type(key) is not type(back):
        yield Change(f"{path}, key {key!r:.80}", _kind(key), _kind(back))


def _each(look: Look | None) -> Look | None:
    def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
        for number, (one, one_back) in enumerate(zip(value, back, strict=False)):
            yield from cast("Look", look)(one, one_back, f"{path}[{number}]")

    return look_at if look else None


def _in_turn(looks: list[Look | None]) -> Look | None:
    def look_at(value: Any, back: Any, path: str) -> Iterator[Change]:
        for number, (look, one, one_back) in enumerate(zip(looks, value, back, strict=False)):
            yield from look(one, one_back, f"{path}[{number}]") if look else ()

    return look_at if any(looks) else None


def _members(value: Any, back: Any, path: str) -> Iterator[Change]:
    """The members of a set have no order to be compared by, and equal ones may differ in type."""
    kinds: dict[Any, Any] = {one: type(one) for one in back}
    for one in value:
        if kinds.get(one) is not type(one):
            yield Change(f"{path}, member {one!r:.80}", _kind(one), "something else")


def _is_of(value: Any, info: inspect.Type) -> bool:
    if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.NamedTupleType):
        return isinstance(value, cast("Any", getattr(info.cls, "__origin__", info.cls)))
    if isinstance(info, inspect.DictType | inspect.TypedDictType):
        return isinstance(value, dict)
    return isinstance(value, list | tuple | set | frozenset)


def _item(value: Any, name: str) -> Any:
    return value[name]


def _at(path: str, key: Any) -> str:
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r:.80}]"


def _kind(value: Any) -> str:
    return type(value).__qualname__


def _nothing(_value: Any, _back: Any, _path: str) -> Iterator[Change]:
    yield from ()

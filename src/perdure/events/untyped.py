"""Finds values in fields of type `Any` that JSON would change.

A reader can't know the type of such a value, so it comes back as a JSON type: a `Decimal` as text, a tuple as a list.
Where a class has such fields is determined once, by composing a function for each of its types.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Final, NamedTuple, cast

from msgspec import inspect

_type_of: Any = type
_PLAIN: Final = frozenset({NoneType, bool, int, float, str})
_NAMES: Final = frozenset({str})
_ADVICE: Final = "declare its type, or convert it to a JSON type"


class ValueChange(NamedTuple):
    """A value that comes back with another type."""

    path: str
    """Its location, such as ``payload.items[3].price``."""
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.')}: {self.was} would come back as {self.becomes}; {_ADVICE}"


ChangeFinder = Callable[[Any, Any, str], Iterator[ValueChange]]
"""Yields the changes between a value and the value that came back, given both and their path."""


class ChangeFinders:
    """The change finders of the types within one event class."""

    def __init__(self) -> None:
        self._finders: dict[int, ChangeFinder] = {}

    def finder_for(self, info: inspect.Type, within: frozenset[int] = frozenset()) -> ChangeFinder | None:
        """Return the change finder of a type; None if its values can't contain a field of type `Any`."""
        if isinstance(info, inspect.AnyType):
            return changes
        if isinstance(info, inspect.Metadata):
            return self.finder_for(info.type, within)
        if id(info) in within:  # a recursive type: its finder is known by the time it is called
            return self._later(info)
        finder = self._made(info, within | {id(info)})
        if finder is not None:
            self._finders[id(info)] = finder
        return finder

    def _later(self, info: inspect.Type) -> ChangeFinder:
        def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
            yield from self._finders.get(id(info), _nothing)(value, back, path)

        return find

    def _made(self, info: inspect.Type, within: frozenset[int]) -> ChangeFinder | None:
        if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.NamedTupleType):
            return self._in_fields(info.fields, within, getattr)
        if isinstance(info, inspect.TypedDictType):
            return self._in_fields(info.fields, within, _item)
        if isinstance(info, inspect.UnionType):
            return self._in_one_of(info, within)
        if isinstance(info, inspect.DictType):
            return self._in_dict(info, within)
        return self._in_collection(info, within)

    def _in_collection(self, info: inspect.Type, within: frozenset[int]) -> ChangeFinder | None:
        if isinstance(info, inspect.ListType | inspect.VarTupleType):
            return _each(self.finder_for(info.item_type, within))
        if isinstance(info, inspect.SetType | inspect.FrozenSetType):
            return _members if self.finder_for(info.item_type, within) else None
        if isinstance(info, inspect.TupleType):
            return _in_turn([self.finder_for(one, within) for one in info.item_types])
        return None

    def _in_fields(
        self, fields: Iterable[inspect.Field], within: frozenset[int], get: Callable[[Any, str], Any]
    ) -> ChangeFinder | None:
        finders = [(field.name, finder) for field in fields if (finder := self.finder_for(field.type, within))]

        def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
            for name, finder in finders:
                try:
                    one, one_back = get(value, name), get(back, name)
                except (AttributeError, KeyError):  # absent, as a key of a TypedDict may be
                    continue
                yield from finder(one, one_back, f"{path}.{name}")

        return find if finders else None

    def _in_one_of(self, info: inspect.UnionType, within: frozenset[int]) -> ChangeFinder | None:
        if any(isinstance(one, inspect.AnyType) for one in info.types):
            return changes
        finders = [(one, finder) for one in info.types if (finder := self.finder_for(one, within))]

        def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
            for one, finder in finders:
                if _is_of(back, one):
                    yield from finder(value, back, path)

        return find if finders else None

    def _in_dict(self, info: inspect.DictType, within: frozenset[int]) -> ChangeFinder | None:
        in_key, in_value = self.finder_for(info.key_type, within), self.finder_for(info.value_type, within)

        def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
            pairs = zip(cast("dict[Any, Any]", value).items(), cast("dict[Any, Any]", back).items(), strict=False)
            for (key, one), (key_back, one_back) in pairs:
                yield from _changed_key(key, key_back, path) if in_key else ()
                yield from in_value(one, one_back, _at(path, key)) if in_value else ()

        return find if in_key or in_value else None


def changes(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
    """Yield the changes between a value of any type and the value that came back, at every depth."""
    if _is_plain(value):
        return
    kind = _type_of(value)
    if kind is not _type_of(back):
        yield ValueChange(path, _kind(value), _kind(back))
    elif kind is dict:
        yield from _in_any_dict(value, back, path)
    elif kind in (list, tuple):
        yield from _in_any_list(value, back, path)


def _is_plain(value: Any) -> bool:
    # JSON keeps the type of such a value, so an equal value that comes back is the same.
    kind = _type_of(value)
    if kind is dict:
        names, parts = value, value.values()
    elif kind is list:
        names, parts = (), value
    else:
        return kind in _PLAIN
    return _NAMES.issuperset(map(type, names)) and (_PLAIN.issuperset(map(type, parts)) or all(map(_is_plain, parts)))


def _in_any_dict(value: Mapping[Any, Any], back: Mapping[Any, Any], path: str) -> Iterator[ValueChange]:
    for (key, one), (key_back, one_back) in zip(value.items(), back.items(), strict=False):
        yield from _changed_key(key, key_back, path)
        yield from changes(one, one_back, _at(path, key))


def _in_any_list(value: Collection[Any], back: Collection[Any], path: str) -> Iterator[ValueChange]:
    for number, (one, one_back) in enumerate(zip(value, back, strict=False)):
        yield from changes(one, one_back, f"{path}[{number}]")


def _changed_key(key: Any, back: Any, path: str) -> Iterator[ValueChange]:
    if type(key) is not type(back):
        yield ValueChange(f"{path}, key {key!r:.80}", _kind(key), _kind(back))


def _each(finder: ChangeFinder | None) -> ChangeFinder | None:
    def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
        for number, (one, one_back) in enumerate(zip(value, back, strict=False)):
            yield from cast("ChangeFinder", finder)(one, one_back, f"{path}[{number}]")

    return find if finder else None


def _in_turn(finders: list[ChangeFinder | None]) -> ChangeFinder | None:
    def find(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
        for number, (finder, one, one_back) in enumerate(zip(finders, value, back, strict=False)):
            yield from finder(one, one_back, f"{path}[{number}]") if finder else ()

    return find if any(finders) else None


def _members(value: Any, back: Any, path: str) -> Iterator[ValueChange]:
    # Sets have no order to compare by, and equal members may differ in type.
    kinds: dict[Any, Any] = {one: type(one) for one in back}
    for one in value:
        if kinds.get(one) is not type(one):
            yield ValueChange(f"{path}, member {one!r:.80}", _kind(one), "another type")


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


def _nothing(_value: Any, _back: Any, _path: str) -> Iterator[ValueChange]:
    yield from ()

"""Puts the members of sets in one order in the JSON of an event, so that equal events have equal texts.

A set is iterated in an order that may differ from process to process. All else keeps its order: dicts, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from msgspec import UNSET, inspect

from perdure.events.storable import is_pydantic

SETS: Final = (inspect.SetType, inspect.FrozenSetType)

_type_of: Any = type
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder[Any]().decode


def with_sorted_sets(event: object, data: bytes | str) -> bytes:
    """Return the JSON of an event with the members of its sets sorted, at every depth."""
    return _encode(_sorted(event, _decode(data)))


def _sorted(value: Any, tree: Any) -> Any:
    """Return the decoded JSON of a value with sorted sets. What doesn't look like the value is left as it is."""
    kind = _type_of(tree)
    if kind is dict:
        return tree | {name: _sorted(part, tree[name]) for name, part in _named(value, tree) if name in tree}
    if kind is not list:
        return tree
    parts = list(_members(value))
    if len(parts) != len(tree):
        return tree
    ordered = [_sorted(part, member) for part, member in zip(parts, tree, strict=True)]
    return sorted(ordered, key=_encode) if issubclass(_type_of(value), AbstractSet) else ordered


def _members(value: Any) -> Iterable[Any]:
    """Return the parts of a value that is a list in JSON."""
    kind = _type_of(value)
    if issubclass(kind, msgspec.Struct):  # array_like
        fields = [getattr(value, name) for name in value.__struct_fields__]
        return fields if value.__struct_config__.tag is None else [None, *fields]
    return value if issubclass(kind, AbstractSet | list | tuple) else ()


def _named(value: Any, tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value that is an object in JSON, by their names there."""
    kind = _type_of(value)
    if issubclass(kind, Mapping):
        # In the order of the dict, because JSON has made texts of its keys.
        if len(value) == len(tree):
            yield from zip(tree, value.values(), strict=True)
    elif issubclass(kind, msgspec.Struct):
        for name, field in zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True):
            yield name, getattr(value, field)
    elif is_pydantic(kind):
        aliases = {name: field.serialization_alias or name for name, field in kind.model_fields.items()}
        for name, part in value:
            yield aliases.get(name, name), part
    else:
        for name in tree:
            if (part := getattr(value, name, UNSET)) is not UNSET:
                yield name, part

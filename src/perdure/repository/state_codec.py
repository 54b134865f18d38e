"""Encodes the states of aggregates as JSON, for snapshots. It refuses a state that decoding would change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Final, Generic, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec import inspect

from perdure.aggregate import AggregateRoot
from perdure.aggregate.constructor import has_own_constructor
from perdure.errors import AggregateDefinitionError, EventDefinitionError, InvalidArgumentError
from perdure.events.codec import Codec

A = TypeVar("A", bound=AggregateRoot)

_ID: Final = UUID(int=0)
"""The id of an instance that is never stored."""


class StateCodec(Generic[A]):
    """Encodes and decodes the annotated fields of one class of aggregates, by their types.

    Attributes:
        version: the class's `state_version`.
        shape: a hash of the class's qualified name, its fields and all types within them.

    Args:
        aggregate_class: the class of the aggregates.

    Raises:
        InvalidArgumentError: a field's type can't be stored, or can't be resolved.
        AggregateDefinitionError: ``__init__`` sets an attribute that isn't a field.
    """

    def __init__(self, aggregate_class: type[A]) -> None:
        try:
            types = aggregate_class.state_types()
            self._struct = msgspec.defstruct("State", types.items())
            self._codec = Codec("state", self._struct, allow_naive=True)
        except NameError as error:
            raise _unusable(aggregate_class, f"an annotation can't be resolved: {error}") from error
        except EventDefinitionError as error:
            raise _unusable(aggregate_class, error.reason) from error
        _try_constructor(aggregate_class)
        self._names = types.keys()
        self.version = aggregate_class.state_version
        self.shape = _shape(aggregate_class, self._struct)

    def encode(self, aggregate: A) -> str:
        """Return the state as JSON text.

        Raises:
            EventEncodingError: it holds a value that can't be stored.
            ValueError: a field would come back as another value, or isn't annotated.
        """
        state = vars(aggregate)
        if unknown := state.keys() ^ self._names:
            raise ValueError(f"the fields of the state differ from its annotations: {', '.join(sorted(unknown))}")
        data = self._codec.encode(self._struct(**state))
        decoded = self._codec.decode(data)
        for name in self._names:
            if not _is_same(state[name], getattr(decoded, name)):
                raise ValueError(f"field {name!r} would come back as {getattr(decoded, name)!r}, not {state[name]!r}")
        return data

    def restore(self, aggregate: A, data: str) -> None:
        """Give an aggregate the state that this text encodes. Raise msgspec.MsgspecError if it doesn't fit."""
        decoded = self._codec.decode(data)
        vars(aggregate).update({name: getattr(decoded, name) for name in self._names})


def _try_constructor(aggregate_class: type[AggregateRoot]) -> None:
    """Make an instance, which refuses attributes that a snapshot would miss."""
    if not has_own_constructor(aggregate_class, AggregateRoot):
        return
    try:
        aggregate_class(_ID)
    except AggregateDefinitionError:
        raise
    except Exception:  # noqa: BLE001 - the user's code may refuse this id; then the first load finds the mistake
        return


def _unusable(cls: type, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError("snapshot_every", f"can't be used with {cls.__qualname__}: {reason}")


def _shape(cls: type, struct: type) -> str:
    # With the class's name: two classes may fold one stream differently into the same fields.
    described = [cls.__module__, cls.__qualname__, _described(inspect.type_info(struct), ())]
    return hashlib.sha256(msgspec.json.encode(described)).hexdigest()


def _described(part: object, around: tuple[object, ...]) -> object:
    """Return a type and all types within it as plain values, the same in every process, without defaults."""
    if isinstance(part, inspect.Field):
        return [part.name, part.encode_name, _described(part.type, around)]
    if isinstance(part, inspect.Type):
        if part in around:
            return "recursive"
        within = (*around, part)
        return [type(part).__name__, *(_described(getattr(part, name), within) for name in part.__struct_fields__)]
    if isinstance(part, tuple):
        return [_described(one, around) for one in cast("Iterable[object]", part)]
    if isinstance(part, type):
        members = [[one.name, repr(one.value)] for one in part] if issubclass(part, Enum) else []
        return [part.__qualname__, members]
    return repr(part)


def _is_same(one: object, other: object) -> bool:
    """Return whether values are equal all the way down, and of the same types: a defaultdict isn't a dict."""
    if type(one) is not type(other):
        # An annotation allows a whole number where a float is expected.
        return type(one) is int and type(other) is float and one == other
    if isinstance(one, dict):
        return _all_same(cast("dict[object, object]", one).items(), cast("dict[object, object]", other).items())
    if isinstance(one, list | tuple):
        return _all_same(cast("Iterable[object]", one), cast("Iterable[object]", other))
    if names := _field_names(type(one)):
        return _all_same((getattr(one, name) for name in names), (getattr(other, name) for name in names))
    return one == other


def _all_same(ones: Iterable[object], others: Iterable[object]) -> bool:
    mine, theirs = list(ones), list(others)
    return len(mine) == len(theirs) and all(map(_is_same, mine, theirs))


def _field_names(cls: type) -> list[str]:
    """Return the names of the fields of a Struct, a dataclass or an attrs class."""
    if attributes := getattr(cls, "__attrs_attrs__", None):
        return [attribute.name for attribute in attributes]
    return [*getattr(cls, "__struct_fields__", ()), *getattr(cls, "__dataclass_fields__", ())]

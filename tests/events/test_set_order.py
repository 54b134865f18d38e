"""Equal events have equal texts: the members of sets are sorted, at every depth and for every kind of class."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import attrs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field

from perdure import event, field
from perdure.events import registry

Numbers = Callable[[Iterable[int]], frozenset[int]]


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass(frozen=True)
class Box:
    number: int
    sizes: frozenset[int]


class Item(msgspec.Struct, frozen=True, rename="camel", array_like=True, tag="item"):
    item_numbers: frozenset[int]


class Named(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    item_numbers: frozenset[int]
    note: str = ""


@event("sets.plain")
class Plain:
    numbers: frozenset[int]
    mixed: frozenset[int | str | None]
    boxes: frozenset[Box]
    nested: frozenset[frozenset[int]]
    pairs: frozenset[tuple[int, frozenset[int]]]
    by_name: dict[str, set[int]]
    lists: list[frozenset[int]]
    items: list[Item]
    named: Named
    sizes: frozenset[Size] = frozenset(Size)
    order: dict[str, int] = field(default_factory=lambda: {"z": 1, "a": 2})


@event("sets.struct")
class OfStruct(msgspec.Struct, rename="camel"):
    some_numbers: frozenset[int]
    by_name: dict[int, frozenset[int]]


@event("sets.attrs")
@attrs.define
class OfAttrs:
    numbers: frozenset[int]
    boxes: list[Box]


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True)

    inner_numbers: frozenset[int] = Field(alias="innerNumbers")


@event("sets.pydantic")
class OfPydantic(BaseModel):
    numbers: set[int]
    inner: Inner
    inners: frozenset[Inner]
    by_name: dict[str, list[frozenset[int]]]
    order: dict[str, int] = {"z": 1, "a": 2}


def plain(numbers: Numbers) -> object:
    return Plain(
        numbers=numbers((0, 8)),
        mixed=frozenset([*numbers((0, 8)), "text", None]),
        boxes=frozenset([Box(1, numbers((0, 8))), Box(2, numbers((8, 16)))]),
        nested=frozenset([numbers((0, 8)), numbers((8, 16)), numbers((16, 24))]),
        pairs=frozenset([(1, numbers((0, 8))), (2, numbers((0, 8)))]),
        by_name={"z": set(numbers((0, 8))), "a": {1}},
        lists=[numbers((8, 16)), numbers((0, 8))],
        items=[Item(numbers((0, 8)))],
        named=Named(numbers((0, 8))),
    )


def of_struct(numbers: Numbers) -> object:
    return OfStruct(some_numbers=numbers((0, 8)), by_name={2: numbers((0, 8)), 1: numbers((8, 16))})


def of_attrs(numbers: Numbers) -> object:
    return OfAttrs(numbers=numbers((0, 8)), boxes=[Box(1, numbers((0, 8)))])


def of_pydantic(numbers: Numbers) -> object:
    return OfPydantic(
        numbers=set(numbers((0, 8))),
        inner=Inner(innerNumbers=numbers((0, 8))),
        inners=frozenset([Inner(innerNumbers=numbers((0, 8))), Inner(innerNumbers=numbers((8, 16)))]),
        by_name={"z": [numbers((0, 8))], "a": []},
    )


def forwards(numbers: Iterable[int]) -> frozenset[int]:
    """A set that is iterated in this order: its members have the same place in the hash table."""
    return frozenset(numbers)


def backwards(numbers: Iterable[int]) -> frozenset[int]:
    return frozenset(reversed(list(numbers)))


def test_equal_sets_may_have_another_order() -> None:
    assert list(forwards((0, 8))) != list(backwards((0, 8)))


@pytest.mark.parametrize("make", [plain, of_struct, of_attrs, of_pydantic])
def test_equal_events_have_equal_texts(make: Callable[[Numbers], object]) -> None:
    one, other = make(forwards), make(backwards)
    codec = registry.by_class(type(one)).codec

    assert codec.encode(one) == codec.encode(other)
    assert codec.decode(codec.encode(one)) == one == other


@pytest.mark.parametrize("make", [plain, of_pydantic])
def test_the_order_of_a_dict_is_kept(make: Callable[[Numbers], object]) -> None:
    made = make(forwards)
    codec = registry.by_class(type(made)).codec
    read = codec.decode(codec.encode(made))

    assert (list(read.order), list(read.by_name)) == (["z", "a"], ["z", "a"])

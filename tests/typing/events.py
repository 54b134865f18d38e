"""What type checkers see of events. `make types` checks this file; nothing runs it."""

from dataclasses import dataclass
from typing import assert_type

import msgspec

from perdure import event, field


@event("typing.plain")
class Plain:
    name: str
    count: int = 1
    tags: list[str] = field(default_factory=list)


@event("typing.dataclass")
@dataclass
class Data:
    name: str
    count: int = 1


@event("typing.frozen_dataclass")
@dataclass(frozen=True, kw_only=True)
class FrozenData:
    name: str
    count: int = 1


@event("typing.struct")
class Struct(msgspec.Struct):
    name: str
    count: int = 1


@event("typing.frozen_struct")
class FrozenStruct(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tags: list[str] = msgspec.field(default_factory=list)


assert_type(Plain(name="a"), Plain)
assert_type(Plain(name="a", count=2, tags=["b"]), Plain)
assert_type(Plain(name="a").tags, list[str])
assert_type(Data("a", 2), Data)
assert_type(Data(name="a"), Data)
assert_type(FrozenData(name="a"), FrozenData)
assert_type(Struct("a", 2), Struct)
assert_type(Struct(name="a").name, str)
assert_type(FrozenStruct(name="a", tags=[]), FrozenStruct)


@event("typing.versioned", version=2)
class Versioned:
    name: str


assert_type(Versioned(name="a").name, str)


def a_plain_class_becomes_keyword_only_and_frozen(plain: Plain) -> None:
    Plain("a")  # type: ignore[misc,call-arg] # pyright: ignore
    plain.name = "b"  # type: ignore[misc] # pyright: ignore

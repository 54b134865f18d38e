"""Values of another type than declared: kept where they come back equal, refused where plain text or a number would."""

import enum
from typing import Any

import pytest

from perdure import EventEncodingError, event, field
from perdure.events import registry


class Color(enum.Enum):
    RED = "red"


class Rank(enum.Enum):
    FIRST = 1


class Initial(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@event("codec.plainly")
class Plainly:
    name: str = ""
    names: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    number: int = 0
    numbers: list[float] = field(default_factory=list)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"names": [b"abc"]}, "names: bytes would come back as str"),
        ({"names": [bytearray(b"abc")]}, "names: bytes would come back as str"),
        ({"names": [Color.RED]}, "names: Color would come back as str"),
        ({"counts": {1: 2}}, "counts: a number would come back as str"),
        ({"counts": {1.5: 2}}, "counts: a number would come back as str"),
        ({"counts": {Color.RED: 2}}, "counts: Color would come back as str"),
        ({"number": Rank.FIRST}, "number: Rank would come back as a number; declare it as Rank, or convert it to a"),
        ({"numbers": [1, Rank.FIRST]}, "numbers: Rank would come back as a number"),
    ],
)
def test_what_would_come_back_as_plain_text_or_a_plain_number_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventEncodingError, match=reason):
        registry.by_class(Plainly).codec.encode(Plainly(**values))


def test_what_comes_back_equal_or_as_declared_is_kept() -> None:
    values: dict[str, Any] = {"names": (Initial.A, "b"), "counts": {Initial.A: Level.LOW}, "numbers": (1, 2.5)}

    codec = registry.by_class(Plainly).codec
    read = codec.decode(codec.encode(Plainly(name=Initial.A, number=Level.HIGH, **values)))

    assert (read.name, read.names, read.counts, read.number) == ("a", ["a", "b"], {"a": 1}, 2)
    assert read.numbers == [1.0, 2.5]

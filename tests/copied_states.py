"""States to copy: values of every kind, alone and within each other, and how two of them are compared."""

import copy
import copyreg
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import reject
from hypothesis import strategies as st


class Colour(Enum):
    RED = "red"


class Name(str):  # noqa: SLOT000 - a mutable subclass of text is what it is for
    """Text that can hold attributes."""


class Point(NamedTuple):
    x: Any
    y: Any


class Thing:
    """An ordinary object."""


class Slotted:
    __slots__ = ("parts", "unset")

    def __init__(self) -> None:
        self.parts: Any = None


class Both(Slotted):
    """Has slots and a dict."""


@dataclass
class Data:
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FrozenData:
    parts: Any


class Record(msgspec.Struct, eq=False):
    parts: Any = None


class FrozenRecord(msgspec.Struct, frozen=True):
    parts: Any = None


class OpenRecord(msgspec.Struct, dict=True):
    parts: Any = None


class Counted(msgspec.Struct):
    parts: Any = None
    made = 0

    def __post_init__(self) -> None:
        type(self).made += 1


class OwnWay:
    """Says itself how it is copied."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnWay":
        twin = memo[id(self)] = OwnWay(None)
        twin.parts = copy.deepcopy(self.parts, memo)
        return twin


class Registered:
    """Copied by a function that `copyreg` knows."""

    def __init__(self, parts: Any = None) -> None:
        self.parts = parts


copyreg.pickle(Registered, lambda one: (Registered, (one.parts,)))

ATOMS = st.sampled_from(
    [
        *(None, True, False, 0, 1, 1.0, -0.0, float("inf"), 10**30, "", "text", b"bytes", 1j),
        *(Decimal("1.0"), UUID(int=7), Colour.RED, date(2026, 1, 2), timedelta(1), datetime(2026, 1, 2, tzinfo=UTC)),
        *(datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")), msgspec.UNSET, Name("name"), int, len),
    ]
)


def fill_list(one: Any, parts: list[Any]) -> None:
    one.extend(parts)


def fill_dict(one: Any, parts: list[Any]) -> None:
    one.update({f"key {number}": part for number, part in enumerate(parts)})


def fill_keys(one: Any, parts: list[Any]) -> None:
    one.update(dict.fromkeys(filter(is_hashable, parts), 1))


def fill_set(one: Any, parts: list[Any]) -> None:
    one.update(members(parts))


def fill_parts(one: Any, parts: list[Any]) -> None:
    one.parts = parts[0] if len(parts) == 1 else parts


def fill_more(one: Any, parts: list[Any]) -> None:
    one.parts, one.more = parts[:1], parts


def members(parts: list[Any]) -> list[Any]:
    """What a set may hold so that its copy has the same order, which identity would decide."""
    hashable = [one for one in parts if is_hashable(one)]
    return [one for one in hashable if isinstance(one, SHARED)] + [
        one for one in hashable if not isinstance(one, SHARED)
    ][:1]


def is_hashable(one: Any) -> bool:
    try:
        hash(one)
    except TypeError:
        return False
    return True


CHANGEABLE: dict[str, tuple[Callable[[], Any], Callable[[Any, list[Any]], None]]] = {
    "list": (list, fill_list),
    "dict": (dict, fill_dict),
    "dict by parts": (dict, fill_keys),
    "set": (set, fill_set),
    "deque": (deque, fill_list),
    "defaultdict": (lambda: defaultdict[str, list[Any]](list), fill_dict),
    "OrderedDict": (OrderedDict, fill_dict),
    "Counter": (Counter, fill_keys),
    "Thing": (Thing, fill_parts),
    "Slotted": (Slotted, fill_parts),
    "Both": (Both, fill_more),
    "Data": (Data, fill_parts),
    "Record": (Record, fill_parts),
    "OwnWay": (lambda: OwnWay(None), fill_parts),
}
FIXED: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "frozenset": lambda parts: frozenset(members(parts)),
    "Point": lambda parts: Point(parts, tuple(parts)),
    "FrozenRecord": lambda parts: FrozenRecord(tuple(parts)),
    "FrozenData": lambda parts: FrozenData(tuple(parts)),
    "OpenRecord": OpenRecord,
    "Registered": Registered,
}
SHARED = (type(None), bool, int, float, complex, str, bytes, Decimal, UUID, date, timedelta, Enum, type, type(len))
FIXED_KINDS = (tuple, frozenset, FrozenRecord, FrozenData, msgspec.UnsetType)
"""Whose identity means nothing: only that of what they hold."""


@st.composite
def states(draw: st.DrawFn) -> Any:
    """Any graph of objects: with several references to one of them, and with cycles."""
    kinds = draw(st.lists(st.sampled_from([*CHANGEABLE, *FIXED]), min_size=1, max_size=8))
    made: list[Any] = [CHANGEABLE[kind][0]() if kind in CHANGEABLE else None for kind in kinds]
    known = [number for number, kind in enumerate(kinds) if kind in CHANGEABLE]

    def parts() -> list[Any]:
        if not known:
            return draw(st.lists(ATOMS, max_size=3))
        return draw(st.lists(ATOMS | st.sampled_from(known).map(lambda number: made[number]), max_size=4))

    for number, kind in enumerate(kinds):
        if kind in FIXED:
            made[number] = FIXED[kind](parts())
            known.append(number)
    for number, kind in enumerate(kinds):
        if kind in CHANGEABLE:
            CHANGEABLE[kind][1](made[number], parts())
    return {"first": made[0], "all": made}


def place(part: Any) -> tuple[str, str]:
    return type(part).__name__, str(part) if isinstance(part, SHARED) else ""


def parts_of(one: Any) -> Iterator[Any]:
    """What an object refers to, in an order that its copy has, too."""
    if isinstance(one, dict):
        yield from one.keys()
        yield from one.values()
    elif isinstance(one, set | frozenset):
        yield from sorted(one, key=place)
    elif isinstance(one, list | tuple | deque):
        yield from one
    elif isinstance(one, msgspec.Struct):
        yield from (getattr(one, name) for name in one.__struct_fields__)
    for name in ("parts", "more"):
        if not isinstance(one, msgspec.Struct) and hasattr(one, name):
            yield getattr(one, name)
    if isinstance(one, defaultdict):
        yield one.default_factory


def outline(state: Any) -> list[Any]:
    """All that is in a state: types, values, and which references lead to the same object that can change."""
    numbers: dict[int, int] = {}
    told: list[Any] = []

    def walk(one: Any) -> None:
        if isinstance(one, SHARED) and not isinstance(one, Name):
            told.append((type(one), repr(one)))
            return
        if id(one) in numbers:
            told.append(numbers[id(one)])
            return
        if not isinstance(one, FIXED_KINDS):
            numbers[id(one)] = len(numbers)
        told.append(type(one))
        for part in parts_of(one):
            walk(part)
        told.append("end")

    walk(state)
    return told


def changeable(state: Any) -> dict[int, Any]:
    """All objects in a state that somebody could change."""
    found: dict[int, Any] = {}
    waiting = [state]
    while waiting:
        one = waiting.pop()
        is_fixed = isinstance(one, (*SHARED, *FIXED_KINDS))
        if id(one) not in found:
            if not is_fixed or isinstance(one, Name):
                found[id(one)] = one
            waiting += parts_of(one)
    return found


def by_deepcopy(state: Any) -> Any:
    try:
        return copy.deepcopy(state)
    except (RecursionError, AttributeError):
        reject()  # it can't copy all cycles

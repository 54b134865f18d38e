"""A copy of a state is what `copy.deepcopy` makes of it: same types, same references within it, nothing shared."""

import copy
import copyreg
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from perdure import AggregateRoot, event, handles
from perdure.copies import own_copy


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


@given(states())
def test_any_state_is_copied_as_deepcopy_does(state: Any) -> None:
    before = outline(state)
    wanted = outline(by_deepcopy(state))
    twin = own_copy(state)

    # Deepcopy doubles what leads back to itself and can be made only with its parts, such as a set.
    assert wanted != before or outline(twin) == before
    assert outline(state) == before
    assert not changeable(twin).keys() & changeable(state).keys(), "nothing that can change is shared"


@given(states())
def test_what_is_copied_together_keeps_its_common_parts(state: Any) -> None:
    by_deepcopy(state)
    twin: Any = own_copy({"one": state, "many": [{"of": state["first"]}, {"of": state["first"]}]})

    if id(state["first"]) in changeable(state):
        assert twin["one"]["first"] is twin["many"][0]["of"] is twin["many"][1]["of"]


ROW = {"n": 1}


@pytest.mark.parametrize(
    "state",
    [
        {"a": {"n": 1}, "b": {"n": 2}},
        {"a": ROW, "b": ROW},
        {"a": {"n": 1}, "b": {"n": [1]}},
        {"a": {("t", 1): 1}, "b": {"n": 1}},
        {"a": {Thing(): 1}, "b": {"n": 1}},
        {"a": {("t", 1): 1}, "b": defaultdict(int, n=1)},
        [{"n": 1}, {"n": 2}],
        [ROW, ROW],
        {"first": ROW, "then": [ROW, {"n": 2}]},
        {"first": [{"n": 2}, ROW], "then": {"row": ROW}},
        [[], []],
        {(1, 2): [3], frozenset([4]): {5}},
    ],
)
def test_rows_of_a_state_are_copied_each_and_once(state: Any) -> None:
    twin = own_copy(state)

    assert outline(twin) == outline(copy.deepcopy(state)) == outline(state)
    assert not changeable(twin).keys() & changeable(state).keys()


def test_a_cycle_leads_back_to_the_copy() -> None:
    thing: Any = Thing()
    thing.parts = (frozenset([thing]), {"me": thing}, {thing})

    twin = own_copy(thing)

    assert twin is not thing
    [inner] = twin.parts[0]
    [member] = twin.parts[2]
    assert inner is twin.parts[1]["me"] is member is twin


def test_a_cycle_that_begins_with_a_tuple_leads_back_to_its_copy() -> None:
    inner: list[Any] = []
    outer = (inner,)
    inner.append(outer)

    twin = own_copy(outer)

    assert twin is not outer
    assert twin[0][0] is twin


def test_what_never_changes_is_the_same_object() -> None:
    state = {"a": ("x", 1), "b": FrozenRecord("x"), "c": frozenset("abc"), "d": Decimal(1), "e": UUID(int=1)}

    twin = own_copy(state)

    assert [value is state[key] for key, value in twin.items()] == [True] * 5


def test_subclasses_are_copied_with_all_that_they_are() -> None:
    name = Name("ann")
    name.tags = ["a"]  # type: ignore[attr-defined]  # any attribute can be set on it
    state = {"name": name, "groups": defaultdict(list, a=[1]), "count": Counter("aab"), "queue": deque([[1]], maxlen=3)}

    twin: Any = own_copy(state)

    assert twin == state
    assert [type(value) for value in twin.values()] == [Name, defaultdict, Counter, deque]
    assert twin["name"].tags == ["a"]
    assert twin["name"].tags is not name.tags  # type: ignore[attr-defined]  # as above
    assert twin["groups"].default_factory is list
    assert twin["groups"]["a"] is not state["groups"]["a"]  # type: ignore[index]  # it is a defaultdict
    assert twin["queue"].maxlen == 3


def test_a_class_that_takes_part_in_its_copying_still_does() -> None:
    record, before = Counted([1]), Counted.made

    twin = own_copy([record, record])

    assert Counted.made == before + 1
    assert twin[0] is twin[1]
    assert twin[0] == record
    assert twin[0].parts is not record.parts


def test_a_function_that_copyreg_knows_is_called() -> None:
    one = Registered([1])
    one.hidden = [2]  # type: ignore[attr-defined]  # it isn't among what the function gives

    twin = own_copy(one)

    assert twin.parts == [1]
    assert not hasattr(twin, "hidden")


def test_a_struct_with_further_attributes_is_copied_as_deepcopy_does() -> None:
    record = OpenRecord([1])
    record.more = [2]  # type: ignore[attr-defined]  # any attribute can be set on it

    assert hasattr(own_copy(record), "more") == hasattr(copy.deepcopy(record), "more")
    assert own_copy(record).parts is not record.parts


@pytest.mark.parametrize("value", [threading.Lock(), (one for one in "abc")])
@pytest.mark.parametrize("within", [lambda one: one, lambda one: [one], lambda one: {"a": one}, Data])
def test_what_deepcopy_refuses_is_refused_with_the_same_words(value: Any, within: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as wanted:
        copy.deepcopy(within(value))
    with pytest.raises(TypeError) as found:
        own_copy(within(value))

    assert str(found.value) == str(wanted.value)


@event("shelf_of_copies.changed")
class Changed:
    book: str


class Shelf(AggregateRoot, category="shelf_of_copies"):
    books: dict[str, list[str]] = msgspec.field(default_factory=dict)

    @handles
    def _changed(self, event: Changed) -> None:
        self.books.setdefault("all", []).append(event.book)


def test_an_aggregate_is_copied_with_its_version_and_its_events() -> None:
    shelf = Shelf("1")
    shelf.raise_event(Changed(book="Emma"))

    twin = own_copy(shelf)
    twin.raise_event(Changed(book="Ulysses"))

    assert (shelf.books, shelf.stream_version, len(shelf.uncommitted_events)) == ({"all": ["Emma"]}, 1, 1)
    assert (twin.books, twin.stream_version, len(twin.uncommitted_events)) == ({"all": ["Emma", "Ulysses"]}, 2, 2)
    assert twin.stream_id == "shelf_of_copies-1"


class Remembering(msgspec.Struct, frozen=True, dict=True):
    number: int

    @cached_property
    def seen(self) -> list[int]:
        return [self.number]


def test_what_a_frozen_struct_keeps_beside_its_fields_is_not_shared() -> None:
    original = Remembering(1)
    original.seen.append(2)

    twin = own_copy(original)
    twin.seen.append(99)

    assert original.seen == [1, 2]
    assert twin.number == 1


def test_lists_may_be_nested_as_deep_as_for_deepcopy() -> None:
    nested: list[object] = []
    for _ in range(430):
        nested = [nested]

    assert own_copy(nested) == copy.deepcopy(nested)

"""A copy of a state is what `copy.deepcopy` makes of it: same types, same references within it, nothing shared."""

import copy
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given

from perdure import AggregateRoot, event, handles
from perdure.copies import own_copy
from tests.copied_states import (
    Counted,
    Data,
    FrozenRecord,
    Name,
    OpenRecord,
    Registered,
    Thing,
    by_deepcopy,
    changeable,
    outline,
    states,
)


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

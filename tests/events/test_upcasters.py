"""Old versions of events are brought up to the class of today, step by step."""

import functools
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure import (
    AggregateRoot,
    EventDecodingError,
    EventMetadata,
    EvolutionError,
    InMemoryEventStore,
    InvalidArgumentError,
    UnknownEventTypeError,
    UnknownEventVersionError,
    UpcasterDefinitionError,
    check_evolution,
    event,
    handles,
    upcast,
)
from perdure.events import registry
from tests.events.stored import HAPPENED, stored

Data = dict[str, Any]

pytestmark = pytest.mark.usefixtures("own_registry")


def define(version: int, event_type: str = "upcasting.registered", **fields: Any) -> type:
    cls = type("Registered", (), {"__annotations__": fields or {"name": str}})
    return event(event_type, version=version)(cls)


def same(data: Data) -> Data:
    return data


def rename(data: Data) -> Data:
    return {"name": data["full_name"]}


def split(data: Data) -> Data:
    first, _, last = data.pop("name").partition(" ")
    return {**data, "first": first, "last": last}


def test_an_old_event_takes_each_step_up_to_its_class() -> None:
    upcast("upcasting.registered", from_version=1)(rename)
    cls = define(3, first=str, last=str)
    upcast("upcasting.registered", from_version=2)(split)

    assert stored("upcasting.registered", 1, full_name="Ann Lee").event == cls(first="Ann", last="Lee")
    assert stored("upcasting.registered", 2, name="Ann Lee").event == cls(first="Ann", last="Lee")
    assert stored("upcasting.registered", 3, first="Ann", last="Lee").event == cls(first="Ann", last="Lee")


def test_the_raw_payload_and_the_upcast_one_can_both_be_seen() -> None:
    upcast("upcasting.registered", from_version=1)(rename)
    define(2)
    read = stored("upcasting.registered", 1, full_name="Ann")

    assert read.upcast_data == {"name": "Ann"}
    assert read.event_data == '{"full_name":"Ann"}'
    assert read.event_version == 1


def test_what_is_made_of_the_upcast_view_changes_nothing() -> None:
    define(1)
    read = stored("upcasting.registered", 1, name="Ann")

    read.upcast_data["name"] = "Bob"

    assert read.upcast_data == {"name": "Ann"}
    assert read.event.name == "Ann"


def test_the_upcast_view_needs_no_payload_that_fits() -> None:
    define(1)

    assert stored("upcasting.registered", 1, other=1).upcast_data == {"other": 1}


def test_an_event_of_today_meets_no_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = define(1)
    monkeypatch.setattr(registry, "upcaster", None)

    assert stored("upcasting.registered", 1, name="Ann").event == cls(name="Ann")


def test_an_upcaster_may_take_the_metadata() -> None:
    @upcast("upcasting.registered", from_version=1)
    def add_time(data: Data, metadata: EventMetadata) -> Data:
        return {**data, "by": metadata.user_id, "at": metadata.timestamp}

    cls = define(2, name=str, by=str, at=type(HAPPENED))

    assert stored("upcasting.registered", 1, name="Ann").event == cls(name="Ann", by="ann", at=HAPPENED)


def test_upcasters_may_make_what_the_class_declares() -> None:
    upcast("upcasting.registered", from_version=1)(lambda data: {"amount": Decimal(data["amount"])})
    cls = define(2, amount=Decimal)

    assert stored("upcasting.registered", 1, amount="1.10").event == cls(amount=Decimal("1.10"))


def test_functions_of_many_kinds_can_be_upcasters() -> None:
    class Steps:
        def method(self, data: Data) -> Data:
            return {**data, "method": True}

    def with_default(data: Data, extra: str = "default") -> Data:
        return {**data, "extra": extra}

    steps: list[Callable[..., Data]] = [
        same,
        Steps().method,
        functools.partial(with_default, extra="partial"),
        with_default,
        lambda data: {**data, "lambda": True},
    ]
    for version, step in enumerate(steps, 1):
        assert upcast("upcasting.registered", from_version=version)(step) is step
    define(len(steps) + 1)

    assert stored("upcasting.registered", 1, name="Ann").upcast_data == {
        "name": "Ann",
        "method": True,
        "extra": "default",
        "lambda": True,
    }


def test_one_function_may_be_several_steps() -> None:
    @upcast("upcasting.registered", from_version=1)
    @upcast("upcasting.registered", from_version=2)
    def count(data: Data) -> Data:
        return {"steps": data["steps"] + 1}

    cls = define(3, steps=int)

    assert stored("upcasting.registered", 1, steps=0).event == cls(steps=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(-99, 99),
    st.randoms(use_true_random=False),
)
def test_a_chain_is_the_composition_of_its_steps(
    factors: list[tuple[int, int]], version: int, value: int, random: Any
) -> None:
    """From any version, whatever the order in which class and steps were defined."""
    last = len(factors) + 1
    version = min(version, last)
    for known in [step for step in registry._upcasters if step[0] == "upcasting.registered"]:
        del registry._upcasters[known]

    def step(factor: int, summand: int) -> Callable[[Data], Data]:
        return lambda data: {"value": data["value"] * factor + summand}

    definitions: list[Callable[[], Any]] = [lambda: define(last, value=int)]
    for number, one in enumerate(factors, 1):
        definitions.append(functools.partial(upcast("upcasting.registered", from_version=number), step(*one)))
    random.shuffle(definitions)
    for definition in definitions:
        definition()

    expected = functools.reduce(lambda so_far, one: so_far * one[0] + one[1], factors[version - 1 :], value)

    assert stored("upcasting.registered", version, value=value).event.value == expected
    check_evolution()


# --- What can't be read -----------------------------------------------------------------------------------------------


def test_an_event_of_newer_code_is_refused_even_if_it_would_fit() -> None:
    define(2)
    upcast("upcasting.registered", from_version=1)(same)
    read = stored("upcasting.registered", 3, name="Ann")

    with pytest.raises(
        UnknownEventVersionError, match=r"schema has version 3, but this code knows only 2: deploy the"
    ) as caught:
        _ = read.event
    with pytest.raises(UnknownEventVersionError):
        _ = read.upcast_data

    assert (caught.value.event_type, caught.value.stream_id) == ("upcasting.registered", "user-1")
    assert (caught.value.event_version, caught.value.known_version) == (3, 2)
    assert read.event_data == '{"name":"Ann"}'


def test_a_missing_step_is_refused_even_if_the_payload_would_fit() -> None:
    define(3)
    upcast("upcasting.registered", from_version=1)(same)

    with pytest.raises(
        EventDecodingError, match=r"no upcaster from version 2, .* write one: @upcast\('upcasting.registered', from_ver"
    ):
        _ = stored("upcasting.registered", 1, name="Ann").event


@pytest.mark.parametrize("error", [KeyError("name"), ValueError(), RecursionError("deep"), AssertionError])
def test_an_upcaster_that_fails_is_named(error: Any) -> None:
    @upcast("upcasting.registered", from_version=1)
    def broken(data: Data) -> Data:
        raise error

    define(2)

    with pytest.raises(EventDecodingError, match=r"broken \('upcasting.registered' from version 1\) raised") as caught:
        _ = stored("upcasting.registered", 1, name="Ann").event

    assert (type(error) if isinstance(error, Exception) else error).__name__ in str(caught.value)
    assert caught.value.__cause__ is not None
    assert str(caught.value).endswith("; fix the upcaster")


@pytest.mark.parametrize("result", [None, [], "text"])
def test_an_upcaster_that_returns_no_dict_is_named(result: Any) -> None:
    @upcast("upcasting.registered", from_version=1)
    def forgetful(data: Data) -> Any:
        return result

    define(2)

    with pytest.raises(EventDecodingError, match=rf"forgetful \(.+\) returned a {type(result).__name__}, not a dict"):
        _ = stored("upcasting.registered", 1, name="Ann").event


@pytest.mark.parametrize("value", [object(), {1: object()}, 1j, "\ud800"])
def test_what_json_cant_hold_is_refused(value: object) -> None:
    upcast("upcasting.registered", from_version=1)(lambda _: {"name": value})
    define(2, name=Any)

    with pytest.raises(EventDecodingError, match="a value that JSON can't hold"):
        _ = stored("upcasting.registered", 1, name="Ann").event


@pytest.mark.parametrize("value", [3, None, math.nan, ["Ann"]])
def test_an_upcast_payload_is_read_as_strictly_as_a_stored_one(value: object) -> None:
    upcast("upcasting.registered", from_version=1)(lambda _: {"name": value})
    define(2)

    with pytest.raises(EventDecodingError, match=r"Expected `str`, got `\w+` - at `\$.name`"):
        _ = stored("upcasting.registered", 1, name="Ann").event


def test_a_type_without_a_class_has_no_upcast_view() -> None:
    upcast("upcasting.gone", from_version=1)(same)

    with pytest.raises(UnknownEventTypeError):
        _ = stored("upcasting.gone", 1).upcast_data


# --- What can't be an upcaster ----------------------------------------------------------------------------------------


async def asynchronous(data: Data) -> Data:
    return data


def generator(data: Data) -> Any:
    yield data


def nothing() -> Data:
    return {}


def too_much(data: Data, metadata: EventMetadata, more: int) -> Data:
    return {}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (asynchronous, "asynchronous() is asynchronous"),
        (generator, "generator() is asynchronous or a generator"),
        (nothing, "it must take the data, and optionally the metadata"),
        (too_much, "it must take the data"),
        ("text", "'text' isn't a function"),
        (dict, "isn't a function"),
    ],
)
def test_what_cant_be_an_upcaster_is_refused_where_it_is_defined(function: Any, reason: str) -> None:
    with pytest.raises(UpcasterDefinitionError) as caught:
        upcast("upcasting.registered", from_version=1)(function)

    assert reason in str(caught.value)
    assert (caught.value.event_type, caught.value.from_version) == ("upcasting.registered", 1)


def test_two_upcasters_for_one_step_are_refused() -> None:
    upcast("upcasting.registered", from_version=1)(same)

    with pytest.raises(UpcasterDefinitionError, match=r"test_upcasters\.same exists already"):
        upcast("upcasting.registered", from_version=1)(rename)


def test_an_upcaster_defined_anew_takes_its_own_place() -> None:
    def make(name: str) -> None:
        @upcast("upcasting.registered", from_version=1)
        def reloaded(data: Data) -> Data:
            return {"name": name}

    make("before")
    make("after")
    define(2)

    assert stored("upcasting.registered", 1).event.name == "after"


@pytest.mark.parametrize(
    ("name", "version"), [("", 1), ("with space", 1), (None, 1), ("a", 0), ("a", True), ("a", "1")]
)
def test_a_step_that_cant_be_named_is_refused(name: Any, version: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        upcast(name, from_version=version)


# --- Start-up ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vars(registry):
        monkeypatch.setattr(registry, name, {})


@pytest.mark.usefixtures("_empty_registry")
def test_all_problems_of_the_code_are_told_at_once() -> None:
    define(1, "upcasting.fine")
    define(4, "upcasting.gaps")
    upcast("upcasting.gaps", from_version=2)(same)
    upcast("upcasting.unknown", from_version=1)(same)
    upcast("upcasting.fine", from_version=1)(same)
    upcast("upcasting.fine", from_version=3)(rename)

    with pytest.raises(EvolutionError) as caught:
        check_evolution()

    gaps, fine, beyond, unknown = caught.value.problems
    assert gaps.startswith("'upcasting.gaps' has version 4, but there is no upcaster from version 1, 3: write one")
    assert "same ('upcasting.fine' from version 1) leads to version 2, but Registered has version 1: increase" in fine
    assert "leads to version 4, but Registered has version 1" in beyond
    assert "('upcasting.unknown' from version 1) is for an event type without a class: fix the name" in unknown
    assert all(f"\n- {problem}" in str(caught.value) for problem in caught.value.problems)


@pytest.mark.usefixtures("_empty_registry")
async def test_a_store_isnt_opened_by_code_with_gaps() -> None:
    define(2)

    with pytest.raises(EvolutionError, match="no upcaster from version 1"):
        async with InMemoryEventStore():
            pass

    upcast("upcasting.registered", from_version=1)(same)
    async with InMemoryEventStore():
        pass


# --- Wherever events are handled --------------------------------------------------------------------------------------


def test_aggregates_are_loaded_from_old_events() -> None:
    upcast("upcasting.registered", from_version=1)(rename)
    cls = define(2)

    class Member(AggregateRoot, category="member"):
        name: str = ""

        @handles(cls)
        def _registered(self, registered: Any) -> None:
            self.name = registered.name

    member = Member("1")
    member.apply_stored_event(stored("upcasting.registered", 1, full_name="Ann"))

    assert (member.name, member.stream_version) == ("Ann", 1)

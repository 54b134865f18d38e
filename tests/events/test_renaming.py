"""Classes and types may be renamed: what was stored under the earlier names stays readable."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure import (
    AggregateRoot,
    DuplicateEventTypeError,
    InMemoryEventStore,
    InvalidArgumentError,
    NewEvent,
    Repository,
    TableProjection,
    check_evolution,
    event,
    handles,
    upcast,
)
from perdure.events import registry
from perdure.log import make_filter
from perdure.testing.projections import fold
from tests.events.stored import stored

Data = dict[str, Any]

pytestmark = pytest.mark.usefixtures("own_registry")


def signed_up(version: int = 1, aliases: tuple[str, ...] = ("renaming.registered",)) -> type:
    @event("renaming.signed_up", version=version, aliases=aliases)
    class SignedUp:
        name: str

    return SignedUp


def appending(suffix: str) -> Callable[[Data], Data]:
    return lambda data: {"name": data["name"] + suffix}


async def test_regression_27_a_renamed_class_reads_its_old_events() -> None:
    """The class path isn't stored, and a name that was is kept as an alias."""

    @event("renaming.registered")
    class Registered:
        name: str

    store = InMemoryEventStore()
    await store.append_to_stream("user-1", 0, [Registered(name="Ann")])
    for known in vars(registry).values():
        known.clear()
    cls = signed_up()

    class User(AggregateRoot, category="user"):
        name: str = ""

        @handles(cls)
        def _signed_up(self, event: Any) -> None:
            self.name = event.name

    user = await Repository(User, store).get("1")

    assert user.name == "Ann"
    assert [type(one.event) for one in await store.read_all_events(event_types=[cls])] == [cls]


def test_new_events_are_written_under_the_present_name() -> None:
    assert NewEvent(signed_up()(name="Ann")).metadata.event_type == "renaming.signed_up"


def test_filters_by_class_include_the_names_of_before() -> None:
    cls = signed_up(aliases=("renaming.registered", "renaming.joined"))

    assert make_filter(None, [cls]).event_types == ("renaming.joined", "renaming.registered", "renaming.signed_up")
    assert make_filter(None, ["renaming.signed_up"]).event_types == ("renaming.signed_up",)


def test_projections_handle_the_names_of_before() -> None:
    cls = signed_up()

    @event("renaming.row")
    class Row:
        name: str
        count: int = 1

    class Names(TableProjection[Row], table="names", key="name"):
        @handles(cls)
        def signed_up(self, event: Any, row: Row | None) -> Row:
            return Row(name=event.name, count=row.count + 1 if row else 1)

    events = [stored("renaming.registered", name="Ann"), stored("renaming.signed_up", name="Ann")]

    assert fold(Names(), events) == {"Ann": Row(name="Ann", count=2)}


def test_versions_count_on_over_a_change_of_name() -> None:
    cls = signed_up(version=3)
    upcast("renaming.registered", from_version=1)(appending("b"))
    upcast("renaming.signed_up", from_version=2)(appending("c"))
    check_evolution()

    assert stored("renaming.registered", 1, name="a").event == cls(name="abc")
    assert stored("renaming.registered", 2, name="a").event == cls(name="ac")
    assert stored("renaming.registered", 3, name="a").event == cls(name="a")
    assert stored("renaming.signed_up", 1, name="a").event == cls(name="abc")


def test_types_that_were_merged_may_take_steps_of_their_own() -> None:
    cls = signed_up(version=2, aliases=("renaming.registered", "renaming.joined"))
    upcast("renaming.registered", from_version=1)(appending(" registered"))
    upcast("renaming.joined", from_version=1)(appending(" joined"))
    check_evolution()

    assert stored("renaming.registered", 1, name="Ann").event == cls(name="Ann registered")
    assert stored("renaming.joined", 1, name="Ann").event == cls(name="Ann joined")


def test_a_step_is_never_guessed_among_several() -> None:
    test_types_that_were_merged_may_take_steps_of_their_own()

    with pytest.raises(Exception, match="no upcaster from version 1"):
        _ = stored("renaming.signed_up", 1, name="Ann").event


def test_a_name_belongs_to_one_type() -> None:
    cls = signed_up()

    with pytest.raises(DuplicateEventTypeError, match=r"'renaming.registered' already belongs to .*SignedUp") as caught:

        @event("renaming.registered")
        class Registered: ...

    assert caught.value.existing is cls

    with pytest.raises(DuplicateEventTypeError, match=r"'renaming.signed_up' already belongs to .*SignedUp:"):

        @event("renaming.other", aliases=("renaming.signed_up",))
        class Other: ...

    assert registry.by_name("renaming.other") is None


def test_two_types_cant_be_each_others_aliases() -> None:
    """So that names never lead in a circle; versions only count up."""

    @event("renaming.one", aliases=("renaming.two",))
    class One: ...

    with pytest.raises(DuplicateEventTypeError):

        @event("renaming.two", aliases=("renaming.one",))
        class Two: ...


def test_a_class_defined_anew_drops_the_aliases_it_had() -> None:
    signed_up()
    cls = signed_up(aliases=())

    assert registry.by_name("renaming.registered") is None
    assert registry.by_name("renaming.signed_up") is registry.by_class(cls)


@pytest.mark.parametrize(
    "aliases",
    ["renaming.registered", ("renaming.signed_up",), ("a", "a"), ("with space",), (None,), None, 3, {"a"}],
)
def test_aliases_that_make_no_sense_are_refused(aliases: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        event("renaming.signed_up", aliases=aliases)

    assert caught.value.argument == "aliases"

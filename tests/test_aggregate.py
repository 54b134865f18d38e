"""State that follows from events, and commands that leave all of their events or none."""

import copy
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, TypeVar
from uuid import UUID

import pytest

from perdure import (
    AggregateBusyError,
    AggregateDefinitionError,
    AggregateRoot,
    DomainError,
    EventEncodingError,
    InvalidArgumentError,
    InvalidStreamIdError,
    StoredEvent,
    UnknownEventTypeError,
    UnregisteredEventError,
    command,
    context,
    event,
    field,
    handles,
)
from perdure.aggregate import adopt, decide_again

T = TypeVar("T")


@event("cart.item_added")
class ItemAdded:
    item: str
    tags: list[str] = field(default_factory=list)


@event("cart.gift_added")
class GiftAdded(ItemAdded):
    wish: str


@event("cart.emptied")
class Emptied: ...


@event("cart.seen")
class Seen:
    """No aggregate handles it."""


class Cart(AggregateRoot, category="cart"):
    items: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    limit: int = 3
    note: "str | None" = field(default=None)
    SIZES: ClassVar[list[int]] = [1, 2]
    LARGEST: "Final" = 10

    @command
    def add(self, item: str, tags: list[str] | None = None) -> int:
        """Kept."""
        if len(self.items) >= self.limit:
            raise DomainError("the cart is full")
        self.raise_event(ItemAdded(item=item, tags=tags or []))
        return len(self.items)

    @command
    def add_all(self, *items: str) -> None:
        for item in items:
            self.add(item)

    @command
    def add_what_fits(self, *items: str) -> None:
        for item in items:
            try:
                self.add_twice(item)
            except DomainError:
                return

    @command
    def add_twice(self, item: str) -> None:
        self.add(item)
        self.add(item)

    @command
    def empty(self) -> None:
        if self.items:
            self.raise_event(Emptied())

    @command
    def interrupt(self) -> None:
        self.raise_event(ItemAdded(item="lost"))
        raise KeyboardInterrupt

    @handles
    def _added(self, event: ItemAdded) -> None:
        self.items.append(event.item)
        self.tags = event.tags

    @handles
    def _emptied(self, event: Emptied) -> None:
        self.items = []
        self.tags.append("emptied")


def stored(event_type: str, data: str = "{}", version: int = 1) -> StoredEvent:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    return StoredEvent("cart-1", version, version, UUID(int=version), event_type, 1, data, "{}", moment)


def payloads(aggregate: AggregateRoot) -> list[object]:
    return [new.event for new in aggregate.uncommitted_events]


def described(cart: Cart) -> tuple[object, ...]:
    return (vars(copy.deepcopy(cart)), cart.stream_version, cart.uncommitted_events, len(cart.uncommitted.commands))


# --- What an aggregate is ---------------------------------------------------------------------------------------------


def test_its_stream_is_named_after_its_category_and_id() -> None:
    cart = Cart("123")

    assert (cart.aggregate_id, cart.stream_id) == ("123", "cart-123")
    assert (cart.stream_version, cart.committed_version, cart.uncommitted_events) == (0, 0, ())


def test_its_id_may_be_a_uuid() -> None:
    cart = Cart(UUID(int=5))

    assert cart.aggregate_id == "00000000-0000-0000-0000-000000000005"
    assert cart.stream_id == "cart-00000000-0000-0000-0000-000000000005"


def test_an_id_that_begins_with_its_category_already_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'cart-123' begins with its category: leave 'cart-' out"):
        Cart("cart-123")

    assert Cart("cartoon-123").stream_id == "cart-cartoon-123"


@pytest.mark.parametrize("aggregate_id", ["", "a\x00", "\ud800", "a\n", "x" * 508])
def test_an_id_that_cant_be_stored_is_refused(aggregate_id: str) -> None:
    with pytest.raises(InvalidStreamIdError):
        Cart(aggregate_id)


@pytest.mark.parametrize("aggregate_id", [None, 123, b"1"])
def test_an_id_that_is_no_text_is_refused(aggregate_id: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a string or a UUID"):
        Cart(aggregate_id)


def test_each_one_has_its_own_state() -> None:
    first, second = Cart("1"), Cart("2")
    first.add("a")

    assert (first.items, second.items) == (["a"], [])
    assert vars(second) == {"items": [], "limit": 3, "note": None, "tags": []}


def test_it_is_equal_to_itself_alone() -> None:
    first, second = Cart("1"), Cart("1")

    assert first == first  # noqa: PLR0124 - the point
    assert first != second
    assert len({first, second}) == 2


def test_its_repr_shows_stream_version_and_state() -> None:
    cart = Cart("1")
    cart.add("a")

    assert repr(cart) == "<Cart 'cart-1' at version 1 (1 uncommitted): items=['a'], limit=3, note=None, tags=[]>"
    cart.mark_events_as_committed()
    assert repr(cart).startswith("<Cart 'cart-1' at version 1: items=")


def test_its_repr_does_without_state() -> None:
    class Empty(AggregateRoot, category="empty"): ...

    assert repr(Empty("1")) == "<Empty 'empty-1' at version 0>"


def test_a_copy_is_independent() -> None:
    cart = Cart("1")
    cart.add("a")
    other = copy.deepcopy(cart)
    other.add("b")

    assert (cart.items, cart.stream_version, len(cart.uncommitted_events)) == (["a"], 1, 1)
    assert (other.items, other.stream_version, len(other.uncommitted_events)) == (["a", "b"], 2, 2)


# --- What its class may declare ---------------------------------------------------------------------------------------


def test_state_is_inherited_and_defaults_may_be_overridden() -> None:
    class Named:
        name: str = "none"

    class Container(AggregateRoot):
        size: int = 1
        kind: str = "box"

    class Crate(Named, Container, category="crate"):
        kind = "crate"
        labels: list[str] = field(default_factory=list)

    assert vars(Crate("1")) == {"kind": "crate", "labels": [], "name": "none", "size": 1}


def test_a_subclass_keeps_the_category_of_its_parent() -> None:
    class BigCart(Cart):
        limit = 100

    class Trolley(Cart, category="trolley"): ...

    assert BigCart("1").stream_id == "cart-1"
    assert BigCart("1").limit == 100
    assert Trolley("1").stream_id == "trolley-1"


def test_a_class_may_be_generic() -> None:
    class Box(AggregateRoot, Generic[T], category="box"):
        content: T | None = None

    assert Box[int]("1").content is None


def test_a_class_without_a_category_has_no_instances() -> None:
    class Container(AggregateRoot): ...

    with pytest.raises(
        AggregateDefinitionError, match=r'has no category: .*Container\(AggregateRoot, category="..."\)'
    ):
        Container("1")


def test_further_class_arguments_are_left_to_other_parents() -> None:
    class Tagged:
        tag: ClassVar[str] = ""

        def __init_subclass__(cls, *, tag: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            cls.tag = tag

    class Box(AggregateRoot, Tagged, category="box", tag="x"): ...

    assert (Box.tag, Box("1").stream_id) == ("x", "box-1")


@pytest.mark.parametrize("category", ["", "user-profile", "a\x00", 3])
def test_a_category_that_cant_be_one_is_refused(category: Any) -> None:
    with pytest.raises(AggregateDefinitionError, match="Refused can't be an aggregate: category"):

        class Refused(AggregateRoot, category=category): ...


@dataclasses.dataclass
class Mutable:
    value: int = 0


def shared_list() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = []  # noqa: RUF012 - the point


def shared_full_list() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = ["a"]  # noqa: RUF012 - the point


def shared_dict() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: dict[str, int] = {}  # noqa: RUF012 - the point


def shared_set() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: set[str] = set()  # noqa: RUF012 - the point


def shared_within_a_tuple() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: tuple[list[str], ...] = ([],)


def shared_object() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: Mutable = Mutable()


def shared_by_field() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = field(default=[])


def shared_without_annotation() -> None:
    class Refused(AggregateRoot, category="refused"):
        names = []  # type: ignore[var-annotated] # noqa: RUF012 - the point


def shared_by_a_mixin() -> None:
    class Named:
        names: list[str] = []  # noqa: RUF012 - the point

    class Refused(Named, AggregateRoot, category="refused"): ...


@pytest.mark.parametrize(
    "define",
    [
        shared_list,
        shared_full_list,
        shared_dict,
        shared_set,
        shared_within_a_tuple,
        shared_object,
        shared_by_field,
        shared_without_annotation,
        shared_by_a_mixin,
    ],
)
def test_a_default_that_all_would_share_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match=r"Refused can't be .*'names' has a .*field\(default_factory="):
        define()


def test_the_fix_for_an_empty_list_can_be_copied() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"write 'names: list = field\(default_factory=list\)'"):
        shared_list()


def test_a_field_without_a_default_is_refused() -> None:
    with pytest.raises(
        AggregateDefinitionError, match=r"'email' has no default, .*write 'email: \.\.\. \| None = None'"
    ):

        class Refused(AggregateRoot, category="refused"):
            email: str


def test_a_field_of_the_standard_library_s_dataclasses_is_refused() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"uses dataclasses\.field: use perdure\.field"):

        class Refused(AggregateRoot, category="refused"):
            names: list[str] = dataclasses.field(default_factory=list)


def taken_by_a_field() -> None:
    class Refused(AggregateRoot, category="refused"):
        stream_version: int = 0


def taken_by_an_annotation() -> None:
    class Refused(AggregateRoot, category="refused"):
        raise_event: Any = None


def taken_by_a_method() -> None:
    class Refused(AggregateRoot, category="refused"):
        def uncommitted(self) -> None: ...  # type: ignore[override] # the point


@pytest.mark.parametrize("define", [taken_by_a_field, taken_by_an_annotation, taken_by_a_method])
def test_a_name_that_every_aggregate_has_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match="is an attribute of every aggregate"):
        define()


def asynchronous_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        async def decide(self) -> None: ...


def generating_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        def decide(self) -> Iterator[int]:
            yield 1


def asynchronously_generating_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        async def decide(self) -> AsyncIterator[int]:
            yield 1


@pytest.mark.parametrize("define", [asynchronous_command, generating_command, asynchronously_generating_command])
def test_a_command_that_doesnt_run_to_its_end_in_one_go_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match=r"command decide\(\) is asynchronous or a generator"):
        define()


# --- Events -----------------------------------------------------------------------------------------------------------


def test_an_event_is_applied_then_recorded_with_fresh_metadata() -> None:
    cart = Cart("1")
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    with context(user_id="ann"):
        cart.raise_event(ItemAdded(item="a"), moment)
    cart.raise_event(Emptied())
    first, second = (new.metadata for new in cart.uncommitted_events)

    assert (cart.items, cart.stream_version, cart.committed_version) == ([], 2, 0)
    assert payloads(cart) == [ItemAdded(item="a"), Emptied()]
    assert (first.event_type, first.timestamp, first.user_id) == ("cart.item_added", moment, "ann")
    assert (second.timestamp.tzinfo, second.user_id) == (UTC, None)
    assert first.event_id.version == 7
    assert first.event_id != second.event_id


def test_what_is_recorded_doesnt_follow_the_state_nor_the_caller() -> None:
    cart = Cart("1")
    tags = ["new"]

    cart.add("a", tags)
    cart.empty()
    tags.clear()

    assert payloads(cart) == [ItemAdded(item="a", tags=["new"]), Emptied()]


def test_events_that_no_method_handles_only_count() -> None:
    cart = Cart("1")
    cart.raise_event(Seen())

    assert (cart.stream_version, payloads(cart)) == (1, [Seen()])


def test_a_handler_takes_events_that_extend_its_own() -> None:
    cart = Cart("1")
    cart.raise_event(GiftAdded(item="a", wish="much joy"))

    assert cart.items == ["a"]


def test_a_handler_of_the_very_class_comes_first() -> None:
    class Gifts(Cart):
        @handles
        def _gift(self, event: GiftAdded) -> None:
            self.items.append(f"{event.item} ({event.wish})")

    gifts = Gifts("1")
    gifts.raise_event(GiftAdded(item="a", wish="joy"))
    gifts.raise_event(ItemAdded(item="b"))

    assert gifts.items == ["a (joy)", "b"]


def test_what_is_no_event_is_refused_and_changes_nothing() -> None:
    cart = Cart("1")

    for raise_or_apply in (cart.raise_event, cart.apply_event):
        with pytest.raises(UnregisteredEventError):
            raise_or_apply(Mutable())

    assert (cart.stream_version, cart.uncommitted_events) == (0, ())


def test_an_event_that_cant_be_copied_is_refused_and_changes_nothing() -> None:
    cart = Cart("1")

    with pytest.raises(EventEncodingError, match=r"'cart.item_added' can't be stored: it can't be copied"):
        cart.raise_event(ItemAdded(item=(one for one in "a")))  # type: ignore[arg-type] # the point

    assert (cart.stream_version, cart.uncommitted_events) == (0, ())


def test_history_is_applied_without_being_recorded() -> None:
    cart = Cart("1")
    cart.apply_event(ItemAdded(item="a"))

    assert (cart.items, cart.stream_version, cart.committed_version, cart.uncommitted_events) == (["a"], 1, 1, ())


def test_a_stored_event_is_decoded_only_if_a_method_handles_it() -> None:
    cart = Cart("1")
    cart.apply_stored_event(stored("cart.item_added", '{"item":"a"}'))
    cart.apply_stored_event(stored("cart.seen", "this is no JSON", version=2))

    assert (cart.items, cart.stream_version) == (["a"], 2)


def test_what_a_handler_keeps_of_a_stored_event_is_no_part_of_it() -> None:
    cart, added = Cart("1"), stored("cart.item_added", '{"item":"a","tags":["red"]}')
    cart.apply_stored_event(added)
    cart.apply_stored_event(stored("cart.emptied", version=2))

    assert cart.tags == ["red", "emptied"]
    assert added.event.tags == ["red"]


def test_a_stored_event_of_an_unknown_type_is_an_error() -> None:
    with pytest.raises(UnknownEventTypeError) as caught:
        Cart("1").apply_stored_event(stored("cart.from_the_future", version=4))

    assert (caught.value.event_type, caught.value.stream_id, caught.value.stream_version) == (
        "cart.from_the_future",
        "cart-1",
        4,
    )


def test_a_handler_that_raises_an_event_is_refused() -> None:
    class Echo(AggregateRoot, category="echo"):
        @handles
        def _seen(self, event: Seen) -> None:
            self.raise_event(event)

    echo = Echo("1")
    with pytest.raises(AggregateDefinitionError, match="a handler raised an event: raise it in the command"):
        echo.apply_event(Seen())

    assert (echo.stream_version, echo.uncommitted_events) == (0, ())


def test_a_handler_that_fails_leaves_no_record() -> None:
    class Fragile(AggregateRoot, category="fragile"):
        @handles
        def _seen(self, event: Seen) -> None:
            raise ZeroDivisionError

    fragile = Fragile("1")
    with pytest.raises(ZeroDivisionError):
        fragile.raise_event(Seen())

    assert (fragile.stream_version, fragile.uncommitted_events) == (0, ())


def test_an_asynchronous_handler_is_refused_at_first_use() -> None:
    class Slow(AggregateRoot, category="slow"):
        @handles
        async def _seen(self, event: Seen) -> None: ...

    with pytest.raises(AggregateDefinitionError, match=r"handler _seen\(\) is asynchronous"):
        Slow("1").apply_event(Seen())


def test_a_handler_that_doesnt_say_what_it_takes_is_refused_at_first_use() -> None:
    class Silent(AggregateRoot, category="silent"):
        @handles
        def _seen(self, event: "Elsewhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point

    with pytest.raises(AggregateDefinitionError, match="Silent can't be an aggregate: handler _seen"):
        Silent("1").apply_event(Seen())


def test_committed_events_are_forgotten() -> None:
    cart = Cart("1")
    cart.add_all("a", "b")
    cart.mark_events_as_committed()

    assert (cart.uncommitted_events, cart.stream_version, cart.committed_version) == ((), 2, 2)
    assert cart.uncommitted.commands == []


def test_events_may_be_committed_up_to_a_version() -> None:
    cart = Cart("1")
    cart.add("a")
    cart.add("b")

    for _ in range(2):
        cart.mark_events_as_committed(through=1)
        assert payloads(cart) == [ItemAdded(item="b")]
        assert [one.args for one in cart.uncommitted.commands] == [("b",)]


# --- Commands ---------------------------------------------------------------------------------------------------------


def test_a_command_keeps_its_name_its_documentation_and_its_result() -> None:
    assert (Cart.add.__name__, Cart.add.__doc__) == ("add", "Kept.")
    assert Cart("1").add("a") == 1


def test_the_outermost_call_is_recorded_with_its_arguments() -> None:
    cart = Cart("1")
    cart.add_all("a", "b")
    cart.add("c", tags=["t"])
    recorded = cart.uncommitted.commands

    assert [(one.method, one.args, one.kwargs) for one in recorded] == [
        (Cart.add_all, ("a", "b"), {}),
        (Cart.add, ("c",), {"tags": ["t"]}),
    ]
    assert [(one.from_version, one.to_version) for one in recorded] == [(0, 2), (2, 3)]
    assert cart.uncommitted.decided_by_commands


def test_events_that_no_command_raised_are_told_apart() -> None:
    cart = Cart("1")
    cart.add("a")
    cart.raise_event(Seen())

    assert not cart.uncommitted.decided_by_commands


def test_arguments_are_recorded_as_they_were_at_the_call() -> None:
    cart = Cart("1")
    tags = ["new"]
    cart.add("a", tags)
    tags.append("changed")

    assert cart.uncommitted.commands[0].args == ("a", ["new"])


def test_arguments_that_cant_be_copied_are_refused() -> None:
    cart = Cart("1")

    with pytest.raises(
        InvalidArgumentError, match=r"of add\(\) can't be copied .*: give commands values, not services"
    ):
        cart.add(one for one in "a")  # type: ignore[arg-type] # the point

    assert described(cart) == described(Cart("1"))


def test_a_command_that_raises_leaves_no_event_no_state_and_no_record() -> None:
    cart = Cart("1")
    cart.add("a", ["t"])
    before = described(cart)

    with pytest.raises(DomainError, match="full"):
        cart.add_all("b", "c", "d")

    assert described(cart) == before
    assert cart.add("e") == 2


def test_a_command_that_raises_leaves_no_state_that_it_set_itself() -> None:
    """State is changed by handlers only; but who forgets it once is not to save the wrong thing."""

    class Forgetful(AggregateRoot, category="forgetful"):
        items: list[str] = field(default_factory=list)
        count: int = 0

        @command
        def before_its_event(self) -> None:
            self.items.append("mine")
            self.count += 1
            self.raise_event(Seen())
            raise DomainError

        @command
        def without_an_event(self) -> None:
            self.items.append("mine")
            self.count += 1
            raise DomainError

        @command
        def within_another(self) -> None:
            self.raise_event(Seen())
            try:
                self.without_an_event()
            except DomainError:
                return

    one = Forgetful("1")
    for refused in (one.before_its_event, one.without_an_event):
        with pytest.raises(DomainError):
            refused()
        assert (one.items, one.count, one.stream_version, payloads(one)) == ([], 0, 0, [])
    one.within_another()
    assert (one.items, one.count, one.stream_version, payloads(one)) == ([], 0, 1, [Seen()])


def test_a_command_that_is_interrupted_leaves_nothing_either() -> None:
    cart = Cart("1")

    with pytest.raises(KeyboardInterrupt):
        cart.interrupt()

    assert described(cart) == described(Cart("1"))


def test_a_command_that_raises_within_another_leaves_nothing_of_its_own() -> None:
    cart = Cart("1")
    cart.add_what_fits("a", "b")

    assert cart.items == ["a", "a"]
    assert payloads(cart) == [ItemAdded(item="a"), ItemAdded(item="a")]
    assert [one.method for one in cart.uncommitted.commands] == [Cart.add_what_fits]
    assert cart.uncommitted.decided_by_commands


def test_state_that_refers_to_its_aggregate_still_does_after_a_failure() -> None:
    class Knot(AggregateRoot, category="knot"):
        itself: Any = None

        @command
        def fail(self) -> None:
            self.raise_event(Seen())
            raise DomainError

        @handles
        def _seen(self, event: Seen) -> None:
            self.itself = None

    knot = Knot("1")
    knot.itself = [knot]
    with pytest.raises(DomainError):
        knot.fail()

    assert knot.itself[0] is knot


def test_a_subclass_extends_a_command() -> None:
    class Polite(Cart):
        @command
        def add(self, item: str, tags: list[str] | None = None) -> int:
            return super().add(f"{item}, please", tags)

    cart = Polite("1")
    cart.add("a")

    assert payloads(cart) == [ItemAdded(item="a, please")]
    assert [one.method for one in cart.uncommitted.commands] == [Polite.add]


def test_commands_are_decided_again_in_the_context_of_their_call() -> None:
    cart, fresh = Cart("1"), Cart("1")
    fresh.apply_event(ItemAdded(item="z"))
    with context(user_id="ann", correlation_id="request"):
        cart.add("a", ["t"])
    cart.empty()

    with context(user_id="bob"):
        decide_again(cart.uncommitted.commands, fresh)

    assert payloads(fresh) == payloads(cart)
    assert (fresh.stream_version, fresh.committed_version) == (3, 1)
    assert [new.metadata.user_id for new in fresh.uncommitted_events] == ["ann", None]
    assert fresh.uncommitted_events[0].metadata.event_id != cart.uncommitted_events[0].metadata.event_id
    assert fresh.uncommitted.commands[0].args[1] is not cart.uncommitted.commands[0].args[1]


def test_one_instance_can_adopt_another_s_state() -> None:
    cart, other = Cart("1"), Cart("1")
    cart.add("a")
    other.add_all("b", "c")
    adopt(cart, other)

    assert (cart.items, cart.stream_version, len(cart.uncommitted_events)) == (["b", "c"], 2, 2)


def test_nobody_changes_an_aggregate_that_is_held() -> None:
    cart = Cart("1")
    cart.uncommitted.held = True

    for change in (cart.empty, lambda: cart.raise_event(Seen())):
        with pytest.raises(AggregateBusyError, match="'cart-1' is being saved with retry"):
            change()


class Shelf(StrEnum):
    LEFT = "left"


def test_an_id_may_be_any_text() -> None:
    assert Cart(Shelf.LEFT).stream_id == "cart-left"

"""Events change the state of an aggregate; those that it raises are recorded."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    EventEncodingError,
    UnknownEventTypeError,
    UnregisteredEventError,
    context,
    field,
    handles,
)
from tests.aggregate.carts import Cart, Emptied, GiftAdded, ItemAdded, Seen, payloads, stored


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
            raise_or_apply(object())

    assert (cart.stream_version, cart.uncommitted_events) == (0, ())


class Counted(AggregateRoot, category="counted"):
    """Keeps and changes what it gets."""

    tags: list[str] = field(default_factory=list)
    total: int = 0

    @handles
    def _added(self, event: ItemAdded) -> None:
        self.tags = event.tags
        self.tags.append("seen")
        self.total += 1


@pytest.mark.parametrize(
    ("event", "where"),
    [
        (ItemAdded(item=5), r"Expected `str`, got `int` - at `\$.item`"),  # type: ignore[arg-type] # the point
        (ItemAdded(item="a", tags="b"), r"Expected `array`, got `str` - at `\$.tags`"),  # type: ignore[arg-type] # the point
        (ItemAdded(item=UUID(int=1)), "item: UUID would come back as str; declare it as UUID, or convert it"),  # type: ignore[arg-type] # the point
        (ItemAdded(item=b"a"), "item: bytes would come back as str"),  # type: ignore[arg-type] # the point
        (ItemAdded(item="a", tags=[date(2026, 1, 1)]), "tags: date would come back as str"),  # type: ignore[list-item] # the point
        (ItemAdded(item="\x00"), "it contains a NUL"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_before_the_state_changes(event: object, where: str) -> None:
    counted = Counted("1")

    with pytest.raises(EventEncodingError, match=where):
        counted.raise_event(event)

    assert (counted.tags, counted.total, counted.stream_version, counted.uncommitted_events) == ([], 0, 0, ())


def test_a_handler_that_changes_what_it_gets_changes_neither_the_record_nor_the_callers_object() -> None:
    counted = Counted("1")
    event = ItemAdded(item="a", tags=["new"])

    counted.raise_event(event)
    counted.tags.append("more")

    [new] = counted.uncommitted_events
    assert (event.tags, new.event.tags, new.event_data) == (["new"], ["new"], '{"item":"a","tags":["new"]}')
    new.event.tags.append("even more")
    assert counted.tags == ["new", "seen", "more"]


def test_a_handler_gets_what_a_reader_will_get() -> None:
    live, replayed = Counted("1"), Counted("1")
    live.raise_event(ItemAdded(item="a", tags=("new",)))  # type: ignore[arg-type] # it comes back as a list
    [new] = live.uncommitted_events
    replayed.apply_stored_event(stored("cart.item_added", new.event_data))

    assert live.tags == replayed.tags == ["new", "seen"]


def test_an_event_that_cant_be_encoded_is_refused_and_changes_nothing() -> None:
    cart = Cart("1")

    with pytest.raises(EventEncodingError, match=r"'cart.item_added' can't be stored: Encoding objects"):
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

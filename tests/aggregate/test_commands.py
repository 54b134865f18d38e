"""Commands leave all of their events or none, and are recorded."""

from enum import StrEnum
from typing import Any

import pytest

from perdure import (
    AggregateBusyError,
    AggregateRoot,
    DomainError,
    InvalidArgumentError,
    command,
    context,
    field,
    handles,
)
from perdure.aggregate import adopt, decide_again
from tests.aggregate.carts import Cart, ItemAdded, Seen, described, payloads


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

"""An aggregate: its stream, its id, its state and its copies."""

import copy
from typing import Any
from uuid import UUID

import pytest

from perdure import (
    AggregateRoot,
    InvalidArgumentError,
    InvalidStreamIdError,
)
from tests.aggregate.carts import Cart


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

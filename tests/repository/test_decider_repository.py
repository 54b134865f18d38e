"""Deciders on the machinery of repositories."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from perdure import (
    AggregateNotFoundError,
    AppendResult,
    Decider,
    DeciderRepository,
    DomainError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    PostgreSQLEventStore,
    RetryConfig,
    UnhandledEventError,
    UnregisteredEventError,
)
from tests.repository.accounts import AT_ONCE, FaultyStore, connection_lost
from tests.repository.carts import (
    AddItem,
    Cart,
    CartCommand,
    CartPaid,
    ItemAdded,
    Look,
    Pay,
    cart_decider,
    decide,
    evolve,
)

Carts = DeciderRepository[CartCommand, Cart]


@pytest.fixture
def carts(store: FaultyStore) -> Carts:
    return DeciderRepository(cart_decider, store, retry=AT_ONCE)


async def test_a_command_leads_to_a_state(carts: Carts) -> None:
    assert await carts.execute("1", AddItem("heat", 2)) == AppendResult("cart-1", 1, (1,))
    assert await carts.execute("1", Pay(gift="pen")) == AppendResult("cart-1", 3, (2, 3))

    assert await carts.load("1") == await carts.get("1") == Cart({"heat": 2, "pen": 1}, is_paid=True)


async def test_where_there_is_no_stream_load_returns_none_and_get_raises(carts: Carts) -> None:
    assert await carts.load("1") is None
    with pytest.raises(AggregateNotFoundError, match="cart-1"):
        await carts.get("1")


async def test_a_rule_that_forbids_writes_nothing(store: FaultyStore, carts: Carts) -> None:
    await carts.execute("1", Pay())

    with pytest.raises(DomainError, match="the cart was paid"):
        await carts.execute("1", AddItem("heat"))

    assert len(store.attempts) == 1


async def test_a_decision_for_nothing_returns_none(store: FaultyStore, carts: Carts) -> None:
    assert await carts.execute("1", Look()) is None
    assert store.attempts == []


async def test_a_conflict_is_decided_again_on_fresh_state(store: FaultyStore, carts: Carts) -> None:
    async def pay_first(commit: object) -> None:
        await store.append_to_stream("cart-1", 1, [CartPaid()])

    await carts.execute("1", AddItem("heat"))
    store.before.append(pay_first)

    with pytest.raises(DomainError, match="the cart was paid"):
        await carts.execute("1", AddItem("ronin"))

    assert carts.conflicts_retried == 1


async def test_without_retry_the_conflict_is_raised(store: FaultyStore, carts: Carts) -> None:
    async def pay_first(commit: object) -> None:
        await store.append_to_stream("cart-1", 0, [CartPaid()])

    store.before.append(pay_first)

    with pytest.raises(OptimisticConcurrencyError):
        await carts.execute("1", AddItem("ronin"), retry=RetryConfig(max_attempts=1))


async def test_a_lost_answer_is_asked_for_again(store: FaultyStore, carts: Carts) -> None:
    store.after.append(connection_lost)

    assert await carts.execute("1", AddItem("heat")) == AppendResult("cart-1", 1, (1,))

    assert await carts.get("1") == Cart({"heat": 1})


async def test_a_state_of_the_past_can_be_loaded(carts: Carts) -> None:
    for sku in ("a", "b", "c"):
        await carts.execute("1", AddItem(sku))

    assert await carts.load("1", at_version=2) == Cart({"a": 1, "b": 1})
    assert await carts.load("1", at_version=0) is None


async def test_history_tells_each_state(carts: Carts) -> None:
    await carts.execute("1", AddItem("a"))
    await carts.execute("1", Pay())

    assert [(stored.event, state) async for stored, state in carts.history("1")] == [
        (ItemAdded(sku="a"), Cart({"a": 1})),
        (CartPaid(), Cart({"a": 1}, is_paid=True)),
    ]


async def test_a_repeated_command_gives_the_first_result(carts: Carts) -> None:
    first = await carts.execute("1", Pay(gift="pen"), command_id="click-1")

    assert await carts.execute("1", Pay(gift="pen"), command_id="click-1") == first
    with pytest.raises(DomainError):
        await carts.execute("1", Pay(gift="pen"), command_id="click-2")


async def test_buyers_who_race_all_get_their_items(store: FaultyStore, database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as one, PostgreSQLEventStore(database_url) as two:
        retry = RetryConfig(max_attempts=50, max_seconds=600, base_delay=0.001)
        both = [DeciderRepository(cart_decider, each, retry=retry, snapshot_every=5) for each in (one, two)]

        await asyncio.gather(*[both[n % 2].execute("1", AddItem(f"sku {n % 3}")) for n in range(18)])

        assert [await each.get("1") for each in both] == [Cart({f"sku {n}": 6 for n in range(3)})] * 2


# --- Definition -------------------------------------------------------------------------------------------------------


def made(**changes: Any) -> Decider[Any, Any, Any]:
    settings: dict[str, Any] = {"category": "cart", "initial_state": Cart, "decide": decide, "evolve": evolve}
    return Decider(**settings | changes)


async def asynchronous(command: Any, state: Any) -> Any: ...


@pytest.mark.parametrize("name", ["initial_state", "decide", "evolve"])
@pytest.mark.parametrize(("value", "reason"), [(Cart(), "must be a function"), (asynchronous, "is asynchronous")])
def test_what_cant_be_a_decider_is_refused(name: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"{name} {reason}"):
        made(**{name: value})


@pytest.mark.parametrize("category", ["", "a-b", None, "process"])
def test_a_category_that_cant_be_one_is_refused(category: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="category"):
        made(category=category)


@pytest.mark.parametrize("decider", [None, Cart, "cart"])
def test_only_deciders_have_decider_repositories(store: FaultyStore, decider: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a Decider"):
        DeciderRepository(decider, store)


async def test_a_decision_that_falls_through_is_an_error(store: FaultyStore) -> None:
    carts = DeciderRepository(made(decide=lambda command, cart: None), store)

    with pytest.raises(InvalidArgumentError, match=r"decide returned None for a Look: return \[\]"):
        await carts.execute("1", Look())


@pytest.mark.parametrize("decision", ["paid", [ItemAdded(sku="a"), object()], CartPaid])
async def test_what_is_no_event_is_refused_and_nothing_written(store: FaultyStore, decision: object) -> None:
    carts = DeciderRepository(made(decide=lambda command, cart: decision), store)

    with pytest.raises(UnregisteredEventError):
        await carts.execute("1", Look())

    assert store.attempts == []


async def test_a_state_that_is_changed_in_place_is_fresh_for_each_cart(store: FaultyStore) -> None:
    def append(skus: list[str], event: ItemAdded) -> list[str]:
        skus.append(event.sku)
        return skus

    carts = DeciderRepository(
        Decider[AddItem, ItemAdded, list[str]](
            category="cart",
            initial_state=list[str],
            decide=lambda command, skus: ItemAdded(sku=command.sku),
            evolve=append,
        ),
        store,
        snapshot_every=2,
    )
    for sku in ("a", "b", "c"):
        await carts.execute("1", AddItem(sku))
    await carts.execute("2", AddItem("d"))

    assert (await carts.get("1"), await carts.get("2")) == (["a", "b", "c"], ["d"])
    assert [state async for _, state in carts.history("1")] == [["a"], ["a", "b"], ["a", "b", "c"]]
    assert await store.read_snapshot("cart-1") is not None


def test_the_type_of_the_state_comes_from_evolve_or_its_class(store: FaultyStore) -> None:
    def unannotated(state, event):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the point: it says nothing
        return state

    def make() -> Cart:
        return Cart()

    @dataclass
    class Odd:
        thing: object = None

    DeciderRepository(made(evolve=unannotated), store, snapshot_every=1)
    for initial_state in (make, Odd):
        with pytest.raises(InvalidArgumentError, match="type object, which can't be stored"):
            DeciderRepository(made(evolve=unannotated, initial_state=initial_state), store, snapshot_every=1)


async def test_a_strict_decider_refuses_an_event_for_which_evolve_returns_nothing(store: FaultyStore) -> None:
    def forgetful(cart: Cart, event: ItemAdded | CartPaid) -> Any:
        match event:
            case ItemAdded():
                return cart

    lenient = made(decide=lambda command, _: command, evolve=forgetful)
    strict = replace(lenient, strict=True)
    await DeciderRepository(lenient, store).execute("1", [ItemAdded(sku="a"), CartPaid()])

    with pytest.raises(UnhandledEventError, match=r"CartPaid \(version 2 of 'cart-1'\) .*return the state") as caught:
        await DeciderRepository(strict, store).load("1")
    assert caught.value.event_class is CartPaid
    with pytest.raises(UnhandledEventError, match=r"CartPaid \(version 1 of 'cart-2'\)"):
        await DeciderRepository(strict, store).execute("2", CartPaid())
    assert await DeciderRepository(strict, store).load("2") is None

"""What type checkers see of deciders. `make types` checks this file; nothing runs it."""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_type
from uuid import UUID

from perdure import (
    AppendResult,
    Decider,
    DeciderRepository,
    DomainError,
    InMemoryEventStore,
    RetryConfig,
    StoredEvent,
    event,
)
from perdure.testing import DeciderOutcome, DeciderScenario, given


@event("typing.item_added")
class ItemAdded:
    sku: str


@event("typing.paid")
class Paid: ...


@dataclass(frozen=True)
class AddItem:
    sku: str


@dataclass(frozen=True)
class Pay: ...


@dataclass(frozen=True)
class Cart:
    items: tuple[str, ...] = ()


CartCommand = AddItem | Pay
CartEvent = ItemAdded | Paid


def decide(command: CartCommand, cart: Cart) -> CartEvent | list[CartEvent]:
    return ItemAdded(sku=command.sku) if isinstance(command, AddItem) else [Paid()]


def decide_a_list(command: CartCommand, cart: Cart) -> list[CartEvent]:
    return [Paid()] if cart.items else []


def decide_one(command: CartCommand, cart: Cart) -> Paid:
    return Paid()


def decide_otherwise(command: CartCommand, cart: Cart) -> list[int]:
    return []


def evolve(cart: Cart, event: CartEvent) -> Cart:
    return cart


def the_types_of_a_decider_may_be_written_down() -> None:
    cart = Decider[CartCommand, CartEvent, Cart](category="cart", initial_state=Cart, decide=decide, evolve=evolve)
    assert_type(cart, Decider[CartCommand, CartEvent, Cart])


def they_are_inferred_where_there_is_one_way() -> None:
    a_list = Decider(category="cart", initial_state=Cart, decide=decide_a_list, evolve=evolve)
    assert_type(a_list, Decider[CartCommand, CartEvent, Cart])
    one = Decider(category="cart", initial_state=Cart, decide=decide_one, evolve=evolve)
    assert_type(one, Decider[CartCommand, Paid, Cart])


def functions_that_dont_fit_are_told() -> None:
    Decider[CartCommand, CartEvent, Cart](
        category="cart",
        initial_state=Cart,
        decide=decide_otherwise,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it gives numbers
        evolve=evolve,
    )
    Decider[CartCommand, CartEvent, Cart](
        category="cart",
        initial_state=dict,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it makes no cart
        decide=decide,
        evolve=evolve,
    )


async def a_repository_knows_commands_and_states(cart: Decider[CartCommand, CartEvent, Cart], now: datetime) -> None:
    carts = DeciderRepository(cart, InMemoryEventStore(), retry=RetryConfig(max_attempts=2), snapshot_every=100)
    assert_type(carts, DeciderRepository[CartCommand, Cart])
    assert_type(await carts.load("1"), Cart | None)
    assert_type(await carts.load("1", at_version=1, at_time=now), Cart | None)
    assert_type(await carts.get(UUID(int=1)), Cart)
    assert_type(await carts.execute("1", AddItem(sku="a"), command_id="c"), AppendResult | None)
    assert_type(carts.conflicts_retried, int)
    assert_type([one async for one in carts.history("1")], list[tuple[StoredEvent, Cart]])
    await carts.execute("1", "add")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: no command


def a_scenario_knows_them_too(cart: Decider[CartCommand, CartEvent, Cart]) -> None:
    scenario = given(cart, ItemAdded(sku="a"), Paid())
    assert_type(scenario, DeciderScenario[CartCommand, Cart])
    outcome = scenario.when(AddItem(sku="b"))
    assert_type(outcome, DeciderOutcome[Cart])
    assert_type(outcome.then_raises(DomainError).then_state(Cart()), DeciderOutcome[Cart])
    scenario.when("pay")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it is no command
    outcome.then_state("paid")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it is no cart

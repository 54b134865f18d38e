"""Carts, decided by functions."""

from dataclasses import dataclass, field, replace

from perdure import Decider, DomainError, event


@event("decided.item_added")
class ItemAdded:
    sku: str
    quantity: int = 1


@event("decided.cart_paid")
class CartPaid: ...


@dataclass(frozen=True)
class AddItem:
    sku: str
    quantity: int = 1


@dataclass(frozen=True)
class Pay:
    gift: str | None = None


@dataclass(frozen=True)
class Look: ...


@dataclass(frozen=True)
class Cart:
    items: dict[str, int] = field(default_factory=dict)
    is_paid: bool = False


CartCommand = AddItem | Pay | Look
CartEvent = ItemAdded | CartPaid


def decide(command: CartCommand, cart: Cart) -> CartEvent | list[CartEvent]:
    if cart.is_paid and not isinstance(command, Look):
        raise DomainError("the cart was paid")
    match command:
        case AddItem(sku=sku, quantity=quantity):
            return ItemAdded(sku=sku, quantity=quantity)
        case Pay():
            return CartPaid() if command.gift is None else [ItemAdded(sku=command.gift), CartPaid()]
        case Look():
            return []


def evolve(cart: Cart, event: CartEvent) -> Cart:
    match event:
        case ItemAdded(sku=sku, quantity=quantity):
            return replace(cart, items={**cart.items, sku: cart.items.get(sku, 0) + quantity})
        case CartPaid():
            return replace(cart, is_paid=True)


cart_decider = Decider[CartCommand, CartEvent, Cart](category="cart", initial_state=Cart, decide=decide, evolve=evolve)

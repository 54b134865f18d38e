"""Carts: the aggregate that the tests of aggregates use."""

import copy
from datetime import UTC, datetime
from typing import ClassVar, Final, TypeVar
from uuid import UUID

from perdure import (
    AggregateRoot,
    DomainError,
    StoredEvent,
    command,
    event,
    field,
    handles,
)

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

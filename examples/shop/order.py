from typing import Literal

from examples.shop.events import OrderPlaced, OrderRedirected, OrderSent
from perdure import AggregateRoot, DomainError, command, handles


class OrderStateError(DomainError):
    """The order doesn't allow this now."""


class Order(AggregateRoot, category="order", strict=True):
    """A customer places an order. It may be redirected until the warehouse sends it."""

    status: Literal["new", "placed", "sent"] = "new"

    @command
    def place(self, customer: str, city: str, country: str, lines: dict[str, int], cents: int) -> None:
        self._require("new")
        if not lines:
            raise DomainError("an order needs a product")
        self.raise_event(
            OrderPlaced(
                order_id=self.aggregate_id, customer=customer, city=city, country=country, lines=lines, cents=cents
            )
        )

    @command
    def redirect(self, city: str) -> None:
        self._require("placed")
        self.raise_event(OrderRedirected(order_id=self.aggregate_id, city=city))

    @command
    def send(self) -> None:
        self._require("placed")
        self.raise_event(OrderSent(order_id=self.aggregate_id))

    @handles
    def _placed(self, _event: OrderPlaced) -> None:
        self.status = "placed"

    @handles
    def _redirected(self, _event: OrderRedirected) -> None:
        """The order decides nothing by its city, so the city is no state of it. The view shows it."""

    @handles
    def _sent(self, _event: OrderSent) -> None:
        self.status = "sent"

    def _require(self, status: str) -> None:
        if self.status != status:
            raise OrderStateError(f"order {self.aggregate_id} is {self.status}, not {status}")

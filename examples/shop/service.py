"""The requests of the shop: each route of a web application would call one of these functions."""

import logging
from dataclasses import dataclass

import msgspec

from examples.shop.application import app
from examples.shop.order import Order
from examples.shop.orders_view import OrderRow, OrdersView
from examples.shop.stock import Stock
from perdure import AggregateRoot, AppendResult, RowPage, WaitError, execute_all

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlaceOrder:
    """The body of the request that places an order. The customer isn't in it, but comes from the authentication."""

    order_id: str
    city: str
    country: str
    lines: dict[str, int]


@dataclass(frozen=True)
class Answer:
    """The version that the request made, and the row of the order. The row is None if the view doesn't show it yet."""

    version: int
    row: OrderRow | None


async def receive_stock(sku: str, quantity: int, price: int, *, key: str) -> None:
    """The warehouse receives pieces of a product."""
    await app.repository(Stock).execute(
        sku,
        lambda stock: stock.receive(quantity, price),
        command_id=f"warehouse/POST /stock/{sku}/{key}",
        fingerprint=f"{quantity} {price}",
    )


async def place_order(customer: str, request: PlaceOrder, *, key: str) -> Answer:
    """A customer places an order. It reserves all of its pieces, or none: then it is an OutOfStockError.

    The key is the Idempotency-Key of the customer. The same request with the same key gets the first result again.
    Another request with that key is a CommandIdReuseError.
    """

    async def decide() -> list[AggregateRoot]:
        order = await app.repository(Order).load_or_new(request.order_id)
        stocks = [await app.repository(Stock).load_or_new(sku) for sku in request.lines]
        cents = sum(stock.price * request.lines[stock.aggregate_id] for stock in stocks)
        order.place(customer, request.city, request.country, request.lines, cents)
        for stock in stocks:
            stock.reserve(request.order_id, request.lines[stock.aggregate_id])
        return [order, *stocks]

    saved = await execute_all(
        app.store,
        decide,
        command_id=f"{customer}/POST /orders/{key}",
        fingerprint=msgspec.json.encode(request, order="sorted"),
    )
    return await _answer(request.order_id, saved[0])


async def redirect_order(order_id: str, city: str, *, if_match: int, key: str) -> Answer:
    """The customer care redirects the order that it saw in version `if_match`.

    If the order has changed since, it is a StaleVersionError: status 412.
    """
    saved = await app.repository(Order).execute(
        order_id,
        lambda order: order.redirect(city),
        expected_version=if_match,
        command_id=f"care/POST /orders/{order_id}/redirect/{key}",
        fingerprint=city,
    )
    return await _answer(order_id, saved)


async def send_order(order_id: str, *, if_match: int, key: str) -> Answer:
    """The warehouse sends the order whose label it printed in version `if_match`.

    If the order has changed since, it is a StaleVersionError: status 412.
    """
    saved = await app.repository(Order).execute(
        order_id, Order.send, expected_version=if_match, command_id=f"warehouse/POST /orders/{order_id}/send/{key}"
    )
    return await _answer(order_id, saved)


async def find_order(order_id: str) -> OrderRow | None:
    """Anyone reads one order."""
    return await OrdersView.get(app.store, order_id)


async def find_orders(customer: str, *, limit: int = 20, after: str | None = None) -> RowPage[OrderRow]:
    """A customer reads a page of their orders, the latest first. `after` is the `next` of the page before."""
    return await OrdersView.find(app.store, customer=customer, order_by="-placed_at", limit=limit, after=after)


async def _answer(order_id: str, saved: AppendResult | None) -> Answer:
    """Answer when the view shows what was saved. If the wait fails, the events are stored all the same."""
    assert saved is not None  # each command of an order raises an event
    try:
        await app.wait_for("orders", saved, timeout=15)
    except WaitError as error:
        LOGGER.warning("order %s is stored, but not shown yet: %s", order_id, error)
        return Answer(saved.stream_version, None)  # with status 202
    return Answer(saved.stream_version, await find_order(order_id))

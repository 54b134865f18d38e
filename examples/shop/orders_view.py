"""The view of orders: what customers, the customer care and the warehouse look at."""

from dataclasses import dataclass
from datetime import datetime

from examples.shop.events import OrderPlaced, OrderRedirected, OrderSent
from perdure import StoredEvent, TableProjection, handles

VAT = {"DE": 19, "FR": 20}  # per cent; a release may add a country, but a rate that was used never changes


@dataclass
class OrderRow:
    order_id: str
    version: int  # the ETag of a page that shows the row
    customer: str
    city: str
    status: str
    cents: int
    vat_cents: int
    placed_at: datetime


class OrdersView(
    TableProjection[OrderRow],
    table="orders",
    key="order_id",
    version=1,
    indexes=[("customer", "placed_at")],
    on_failure="park",
):
    """A row for each order. An event that a handler can't take is parked, and the rows of other orders go on."""

    @handles
    def placed(self, event: OrderPlaced, _row: OrderRow | None, at: StoredEvent) -> OrderRow:
        return OrderRow(
            order_id=event.order_id,
            version=at.stream_version,
            customer=event.customer,
            city=event.city,
            status="placed",
            cents=event.cents,
            vat_cents=event.cents * VAT[event.country] // 100,
            placed_at=at.timestamp,
        )

    @handles
    def redirected(self, event: OrderRedirected, row: OrderRow | None, at: StoredEvent) -> OrderRow | None:
        if row is not None:
            row.city, row.version = event.city, at.stream_version
        return row

    @handles
    def sent(self, _event: OrderSent, row: OrderRow | None, at: StoredEvent) -> OrderRow | None:
        if row is not None:
            row.status, row.version = "sent", at.stream_version
        return row

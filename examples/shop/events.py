"""What happens in the shop, and how the shop reads what its first release stored."""

from typing import Any

from perdure import event, upcast


@event("order.placed", version=2)  # version 1 had one `address`, such as "Hamburg, DE"
class OrderPlaced:
    order_id: str
    customer: str
    city: str
    country: str
    lines: dict[str, int]  # how many of each product
    cents: int


@upcast("order.placed", from_version=1)
def divide_address(data: dict[str, Any]) -> dict[str, Any]:
    """An upcaster divides the address into a city and a country, whenever an event of version 1 is read."""
    data["city"], data["country"] = data.pop("address").rsplit(", ", 1)
    return data


@event("order.redirected")
class OrderRedirected:
    order_id: str
    city: str


@event("order.sent")
class OrderSent:
    order_id: str


@event("stock.received")
class StockReceived:
    quantity: int
    price: int  # of one piece, in cents


@event("stock.reserved")
class StockReserved:
    order_id: str
    quantity: int

"""What the first release of the shop stored. Today's code can't write it: the story and the tests use this."""

from perdure import EventStore
from perdure.testing import append_stored, stored_event


async def append_first_order(store: EventStore, order_id: str, address: str) -> int:
    """Append an `order.placed` of version 1 as the first release did, and return its position in the log."""
    payload = {"order_id": order_id, "customer": "ann", "address": address, "lines": {"heat-dvd": 1}, "cents": 999}
    saved = await append_stored(store, stored_event("order.placed", payload, stream_id=f"order-{order_id}"))
    return saved.global_position

"""What the first release of the shop stored. Today's code can't write it: the story and the tests use this."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from perdure import PostgreSQLEventStore


async def append_first_order(store: PostgreSQLEventStore, order_id: str, address: str) -> int:
    """Append an `order.placed` of version 1 as another program would, and return its position in the log."""
    payload = {"order_id": order_id, "customer": "ann", "address": address, "lines": {"heat-dvd": 1}, "cents": 999}
    async with store.transaction() as tx:
        _, _, position = await tx.connection.fetchval(
            "select perdure.append_event($1, 0, $2, 'order.placed', 1::smallint, $3, $4, '1s')",
            f"order-{order_id}",
            uuid4(),
            msgspec.json.encode(payload).decode(),
            msgspec.json.encode({"timestamp": datetime.now(UTC)}).decode(),
        )
    return int(position)

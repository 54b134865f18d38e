"""Shopping carts whose rows appends write, and what their rows must be."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from perdure.children import ChildRows, child_table
from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection
from perdure.store import EventStore
from perdure.testing.projections import fold_tables

LAST = "select max(global_position) from perdure.events"
"""The last position that is stored."""


@event("test.inline.filled")
class Filled:
    item: str
    count: int = 1


@event("test.inline.emptied")
class Emptied:
    pass


@event("test.inline.cursed")
class Cursed:
    """Fails as long as `Carts.is_cursed` says so."""


@dataclass
class Cart:
    cart_id: str
    total: int = 0
    version: int = 0
    recorded: str = ""


@dataclass
class Item:
    cart_id: str
    item: str
    count: int = 0


class Carts(TableProjection[Cart], table="carts", key="cart_id", version=1, by_stream="cart"):
    items = child_table(Item, table="carts_items", key=("cart_id", "item"))
    is_cursed = True

    @handles
    def filled(self, event: Filled, row: Cart | None, at: StoredEvent, items: ChildRows[Item]) -> Cart:
        cart_id = at.stream_id.removeprefix("cart-")
        row = row or Cart(cart_id)
        row.total += event.count
        row.version, row.recorded = at.stream_version, at.recorded_at.isoformat()
        item = items.get(event.item) or Item(cart_id, event.item)
        item.count += event.count
        items.put(item)
        return row

    @handles
    def emptied(self, event: Emptied, row: Cart | None) -> Cart | None:
        return None

    @handles
    def cursed(self, event: Cursed, row: Cart | None) -> Cart | None:
        if self.is_cursed:
            raise RuntimeError("cursed")
        return row


async def rows_in(connection: asyncpg.Connection) -> dict[str, dict[Any, Any]]:
    carts = [Cart(**row) for row in await connection.fetch("select * from carts")]
    items = [Item(**row) for row in await connection.fetch("select * from carts_items")]
    return {
        "carts": {row.cart_id: row for row in carts},
        "carts_items": {(row.cart_id, row.item): row for row in items},
    }


async def check(store: EventStore, connection: asyncpg.Connection) -> None:
    """The rows are those of all that is in the log."""
    assert await rows_in(connection) == fold_tables(Carts(), await store.read_all_events())

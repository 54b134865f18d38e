"""Tells the story of the shop on an embedded PostgreSQL: `python -m examples.shop`."""

import asyncio
import logging
import tempfile

from examples.shop import service
from examples.shop.application import app
from examples.shop.history import append_first_order
from examples.shop.orders_view import VAT, OrderRow
from examples.shop.service import PlaceOrder
from examples.shop.stock import OutOfStockError, Stock
from perdure import CommandIdReuseError, OptimisticConcurrencyError, PostgreSQLEventStore, ProjectionOperations


async def tell_of_placing() -> None:
    print("1. An order reserves all of its pieces, or none.")
    await service.receive_stock("heat-dvd", 5, 999, key="1")
    await service.receive_stock("alien-dvd", 1, 1299, key="2")
    placed = await service.place_order("ann", PlaceOrder("1", "Bonn", "DE", {"heat-dvd": 2, "alien-dvd": 1}), key="1")
    print("  ", _line(placed.row))
    try:
        await service.place_order("bob", PlaceOrder("2", "Lyon", "FR", {"heat-dvd": 1, "alien-dvd": 1}), key="1")
    except OutOfStockError as error:
        print("   order 2 is refused:", error)
    print("  ", await app.repository(Stock).get("heat-dvd"))


async def tell_of_repeating() -> None:
    print("2. A repeated request gets the first result. Another request with the same key is refused.")
    first = await service.place_order("bob", PlaceOrder("3", "Lyon", "FR", {"heat-dvd": 1}), key="2")
    again = await service.place_order("bob", PlaceOrder("3", "Lyon", "FR", {"heat-dvd": 1}), key="2")
    print("   the same result:", again == first)
    try:
        await service.place_order("bob", PlaceOrder("4", "Lyon", "FR", {"heat-dvd": 2}), key="2")
    except CommandIdReuseError as error:
        print("   order 4 is refused:", type(error).__name__)


async def tell_of_stale_versions() -> None:
    print("3. The warehouse has printed a label. Then the order is redirected: it isn't sent by the old label.")
    redirected = await service.redirect_order("1", "Kiel", if_match=1, key="3")
    try:
        await service.send_order("1", if_match=1, key="4")
    except OptimisticConcurrencyError as error:
        print(f"   refused: the label shows version {error.expected_version}, the order has {error.actual_version}")
    print("4. An answer waits for the view, so it shows its own write.")
    sent = await service.send_order("1", if_match=redirected.version, key="5")
    print("  ", _line(sent.row))


async def tell_of_parking(store: PostgreSQLEventStore) -> None:
    print("5. The view knows no VAT of Sweden. It parks that order, and others go on.")
    await service.place_order("eve", PlaceOrder("5", "Lund", "SE", {"heat-dvd": 1}), key="6")
    await service.place_order("bob", PlaceOrder("6", "Nice", "FR", {"heat-dvd": 1}), key="7")
    print("  ", _line(await service.find_order("5")), "|", _line(await service.find_order("6")))
    operations = ProjectionOperations(store, actor="olga")
    for parked in await operations.parked("orders"):
        print("   parked:", parked.key, parked.failure and f"{parked.failure.error_type} {parked.failure.message}")
    VAT["SE"] = 25  # a new release, in real life
    outcome = await operations.retry_and_wait("orders")
    print(f"   the operator retried {outcome.handled}:", _line(await service.find_order("5")))


async def tell_of_snapshots(store: PostgreSQLEventStore) -> None:
    print("6. A stock lives long. A snapshot stores its state, so that loading it reads only later events.")
    for number in range(105):
        await service.receive_stock("ronin-dvd", 1, 899, key=f"ronin-{number}")
    for row in await store.database.fetch("select stream_version, state from perdure.snapshots"):
        print("   snapshot at version", row["stream_version"], row["state"])
    print("  ", await app.repository(Stock).get("ronin-dvd"))


async def tell_of_old_events(store: PostgreSQLEventStore) -> None:
    print("7. The first release stored an address. An upcaster divides it when the event is read.")
    position = await append_first_order(store, "0", "Jena, DE")
    await app.wait_for("orders", position, timeout=15)
    stored = await store.last_event("order-0")
    assert stored is not None
    print("   stored:", stored.event_data)
    print("   read:", stored.event)
    print("  ", _line(await service.find_order("0")))


async def tell_of_reading() -> None:
    print("8. Rows are read as objects, in pages.")
    page = await service.find_orders("bob", limit=1)
    print("   the first page:", *map(_line, page.rows))
    page = await service.find_orders("bob", limit=1, after=page.next)
    print("   the next page:", *map(_line, page.rows))


def _line(row: OrderRow | None) -> str:
    if row is None:
        return "not shown"
    return f"order {row.order_id} in version {row.version}: {row.status}, to {row.city}, {row.cents} + {row.vat_cents}"


async def main() -> None:
    logging.disable(logging.ERROR)  # the story tells what the log would
    with tempfile.TemporaryDirectory() as folder:
        async with app.connect({"directory": folder}) as store, app.projection_service():
            await tell_of_placing()
            await tell_of_repeating()
            await tell_of_stale_versions()
            await tell_of_parking(store)
            await tell_of_snapshots(store)
            await tell_of_old_events(store)
            await tell_of_reading()
    print("9. One application held all of it. The command line takes it, too: perdure --app examples.shop:app run")


if __name__ == "__main__":
    asyncio.run(main())

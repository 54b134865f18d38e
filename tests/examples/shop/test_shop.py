import asyncio
from collections.abc import AsyncIterator

import pytest

from examples.shop import service
from examples.shop.application import app
from examples.shop.events import OrderPlaced
from examples.shop.history import append_first_order
from examples.shop.order import Order, OrderStateError
from examples.shop.orders_view import VAT, OrderRow
from examples.shop.service import PlaceOrder
from examples.shop.stock import OutOfStockError, Stock
from perdure import (
    CommandIdReuseError,
    DomainError,
    OptimisticConcurrencyError,
    PostgreSQLEventStore,
    ProjectionOperations,
    check_stored_events,
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with app.connect(database_url) as store, app.projection_service():
        await service.receive_stock("heat-dvd", 5, 999, key="1")
        await service.receive_stock("alien-dvd", 1, 1299, key="2")
        yield store


def order(order_id: str = "1", *, country: str = "DE", **lines: int) -> PlaceOrder:
    wanted = {sku.replace("_", "-"): quantity for sku, quantity in lines.items()}
    return PlaceOrder(order_id, "Bonn", country, wanted or {"heat-dvd": 1})


async def available(sku: str) -> int:
    return (await app.repository(Stock).get(sku)).available


async def row_of(order_id: str) -> OrderRow:
    row = await service.find_order(order_id)
    assert row is not None
    return row


# 1. Two aggregates in one transaction


async def test_an_order_reserves_all_of_its_pieces(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order(heat_dvd=2, alien_dvd=1), key="1")

    assert (await available("heat-dvd"), await available("alien-dvd")) == (3, 0)
    assert (await row_of("1")).cents == 2 * 999 + 1299


async def test_an_order_that_lacks_one_product_reserves_nothing(store: PostgreSQLEventStore) -> None:
    with pytest.raises(OutOfStockError, match="2 of alien-dvd wanted, 1 available"):
        await service.place_order("ann", order(heat_dvd=2, alien_dvd=2), key="1")

    assert (await available("heat-dvd"), await available("alien-dvd")) == (5, 1)
    assert await app.repository(Order).load("1") is None


async def test_many_customers_at_once_never_buy_more_than_there_is(store: PostgreSQLEventStore) -> None:
    requests = (service.place_order(f"customer {n}", order(str(n)), key="1") for n in range(8))
    answers = await asyncio.gather(*requests, return_exceptions=True)

    assert sum(isinstance(answer, OutOfStockError) for answer in answers) == 3
    assert sum(isinstance(answer, service.Answer) for answer in answers) == 5
    assert await available("heat-dvd") == 0


@pytest.mark.parametrize("request_", [PlaceOrder("1", "Bonn", "DE", {}), order(heat_dvd=0), order(heat_dvd=-1)])
async def test_an_order_of_nothing_is_refused(store: PostgreSQLEventStore, request_: PlaceOrder) -> None:
    with pytest.raises(DomainError):
        await service.place_order("ann", request_, key="1")


async def test_an_order_is_placed_once(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order(), key="1")

    with pytest.raises(OrderStateError, match="order 1 is placed, not new"):
        await service.place_order("ann", order(), key="2")
    assert await available("heat-dvd") == 4


# 2. Idempotent requests


async def test_a_repeated_request_gets_the_first_result(store: PostgreSQLEventStore) -> None:
    first = await service.place_order("ann", order(alien_dvd=1), key="1")
    again = await service.place_order("ann", order(alien_dvd=1), key="1")  # by now, none is left

    assert again == first
    assert await available("alien-dvd") == 0


async def test_a_request_that_is_sent_twice_at_once_is_carried_out_once(store: PostgreSQLEventStore) -> None:
    answers = await asyncio.gather(*(service.place_order("ann", order(), key="1") for _ in range(2)))

    assert answers[0] == answers[1]
    assert await available("heat-dvd") == 4


async def test_a_key_with_another_request_is_refused(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order("1"), key="1")

    with pytest.raises(CommandIdReuseError):
        await service.place_order("ann", order("2"), key="1")
    assert await app.repository(Order).load("2") is None


async def test_two_customers_may_choose_one_key(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order("1"), key="1")
    await service.place_order("bob", order("2"), key="1")

    assert await available("heat-dvd") == 3


# 3. If-Match


async def test_an_order_is_not_sent_by_an_old_label(store: PostgreSQLEventStore) -> None:
    placed = await service.place_order("ann", order(), key="1")
    redirected = await service.redirect_order("1", "Kiel", if_match=placed.version, key="2")

    with pytest.raises(OptimisticConcurrencyError) as raised:
        await service.send_order("1", if_match=placed.version, key="3")
    assert (raised.value.expected_version, raised.value.actual_version) == (1, 2)

    await service.send_order("1", if_match=redirected.version, key="4")
    assert (await row_of("1")).status == "sent"


async def test_a_repeat_with_an_old_version_gets_the_first_result(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order(), key="1")
    first = await service.redirect_order("1", "Kiel", if_match=1, key="2")

    assert await service.redirect_order("1", "Kiel", if_match=1, key="2") == first


async def test_an_order_that_was_sent_is_not_redirected(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order(), key="1")
    await service.send_order("1", if_match=1, key="2")

    with pytest.raises(OrderStateError, match="order 1 is sent, not placed"):
        await service.redirect_order("1", "Kiel", if_match=2, key="3")


# 4. Reading one's own writes


async def test_each_answer_shows_its_own_write(store: PostgreSQLEventStore) -> None:
    await service.place_order("ann", order(), key="0")
    for version in range(1, 11):
        answer = await service.redirect_order("1", f"city {version}", if_match=version, key=str(version))

        assert answer.row is not None
        assert (answer.row.city, answer.row.version, answer.version) == (f"city {version}", version + 1, version + 1)


# 5. Parked events


async def test_an_order_that_the_view_cant_take_is_parked_until_an_operator_retries_it(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = ProjectionOperations(store, actor="olga")
    sweden = await service.place_order("eve", order("1", country="SE"), key="1")
    moved = await service.redirect_order("1", "Lund", if_match=sweden.version, key="2")
    france = await service.place_order("bob", order("2", country="FR"), key="1")

    assert (sweden.row, moved.row) == (None, None)
    assert france.row is not None
    states = [(parked.key, parked.state) for parked in await operations.parked("orders", states=("failed", "waiting"))]
    assert states == [('{"order_id":"1"}', "failed"), ('{"order_id":"1"}', "waiting")]

    monkeypatch.setitem(VAT, "SE", 25)
    outcome = await operations.retry_and_wait("orders")

    assert (outcome.handled, outcome.failed) == (1, ())
    row = await row_of("1")
    assert (row.city, row.version, row.vat_cents) == ("Lund", 2, 249)
    assert await operations.parked("orders") == []


# 6. Snapshots


async def test_a_stock_is_loaded_from_its_snapshot(store: PostgreSQLEventStore) -> None:
    for number in range(105):
        await service.receive_stock("ronin-dvd", 1, 899, key=f"ronin-{number}")

    assert await store.database.fetch_value("select stream_version from perdure.snapshots") == 100
    stock = await app.repository(Stock).get("ronin-dvd")
    assert (stock.stream_version, stock.available, stock.price) == (105, 105, 899)


# 7. Old events


async def test_an_event_of_version_1_is_read_as_version_2(store: PostgreSQLEventStore) -> None:
    position = await append_first_order(store, "0", "Jena, DE")

    stored = await store.last_event("order-0")
    assert stored is not None
    assert '"address":"Jena, DE"' in stored.event_data
    assert isinstance(stored.event, OrderPlaced)
    assert (stored.event.city, stored.event.country) == ("Jena", "DE")

    await app.wait_for("orders", position, timeout=15)
    assert (await row_of("0")).city == "Jena"
    assert (await app.repository(Order).get("0")).status == "placed"
    await check_stored_events(store, samples=None)


# 8. Typed reads


async def test_a_customer_reads_their_orders_in_pages_the_latest_first(store: PostgreSQLEventStore) -> None:
    for number in range(3):
        await service.place_order("ann", order(str(number)), key=str(number))
    await service.place_order("bob", order("3"), key="3")

    page = await service.find_orders("ann", limit=2)
    assert [row.order_id for row in page.rows] == ["2", "1"]
    page = await service.find_orders("ann", limit=2, after=page.next)
    assert [row.order_id for row in page.rows] == ["0"]
    assert page.next is None
    assert await service.find_order("9") is None


# 9. One application


async def test_one_application_holds_the_store_and_the_repositories(store: PostgreSQLEventStore) -> None:
    assert app.store is store
    assert app.repository(Stock) is app.repository(Stock)
    assert await service.find_orders("ann") == await service.find_orders("ann")

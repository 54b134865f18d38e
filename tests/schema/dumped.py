"""The events and projections of the dumps in `dumps`, and the data. Nothing here is changed: the dumps hold it."""

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import perdure
from perdure import InlineProjections, NewEvent, ProjectionOperations, ProjectionService, StreamAppend
from perdure.errors import EventParkedError
from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection
from perdure.repository import RetryConfig
from perdure.snapshot import Snapshot
from perdure.stores.postgres.store import PostgreSQLEventStore

ROLE = "perdure_dump_writer"
"""The role that the dumps grant rights to."""
REQUEST = UUID("6f9619ff-8b86-4011-b42d-00c04fc964ff")

SET_TIMER = """
    insert into perdure.timers (name, key, timer, due_at, set_by, data)
    values ('trials', '{"user_id":"1"}', 'end', '2100-01-01 00:00:00+00', '00000000-0000-4000-8000-000000000001', '[1]')
"""


@event("dump.ordered")
class Ordered:
    order: str
    article: str
    quantity: int = 1


@event("dump.moved")
class Moved:
    to: str


@dataclass
class Order:
    order: str
    articles: int = 0


@dataclass
class Parcel:
    parcel_id: str
    place: str
    moves: int = 0


class Orders(TableProjection[Order], table="orders", key="order", version=1, on_failure="park"):
    @handles
    def ordered(self, event: Ordered, row: Order | None) -> Order:
        if event.article == "broken":
            raise ValueError("there is no such article")
        row = row or Order(event.order)
        row.articles += event.quantity
        return row


class Parcels(TableProjection[Parcel], table="parcels", key="parcel_id", version=1, by_stream="parcel"):
    @handles
    def moved(self, event: Moved, row: Parcel | None, at: StoredEvent) -> Parcel:
        row = row or Parcel(at.stream_id.removeprefix("parcel-"), event.to)
        row.place = event.to
        row.moves += 1
        return row


def ordered(order: str, article: str, quantity: int = 1) -> Ordered:
    return Ordered(order=order, article=article, quantity=quantity)


def orders(store: PostgreSQLEventStore) -> ProjectionService:
    return ProjectionService(store, [Orders()], retry=RetryConfig(max_attempts=1))


async def write_data(store: PostgreSQLEventStore) -> None:
    """Fill each table of the store, except that of the roles."""
    await store.append_to_stream("order-1", 0, [ordered("1", "pen", 2), ordered("1", "ink")])
    with perdure.context(correlation_id=REQUEST, user_id='a "quoted" name', headers={"client": "web"}):
        await store.append_to_streams(
            [StreamAppend("order-2", 0, [ordered("2", "broken")]), StreamAppend("order-3", 0, [ordered("3", "broken")])]
        )
    event_id = UUID("00000000-0000-4000-8000-000000000001")
    saved = await store.append_to_stream("order-3", 1, [NewEvent(ordered("3", "pen"), event_id=event_id)])
    await store.write_snapshot(Snapshot("order-3", 2, event_id, 1, "shape", '{"articles":1}'))
    operations = ProjectionOperations(store)
    async with orders(store) as service:
        with suppress(EventParkedError):  # it waits behind a failed one
            await service.wait_for("orders", saved, timeout=60)
        [skipped, *_] = await operations.parked("orders")
        await operations.skip("orders", skipped.global_position, "the article was a mistake")
    await operations.rebuild("orders", switch="manual", reason="to have a second build")
    await operations.pause("orders", "for the dump")
    await store.database.fetch(SET_TIMER)
    async with InlineProjections(store, [Parcels()]) as inline:
        await inline.append_to_stream("parcel-7", 0, [Moved(to="Hamburg"), Moved(to="Bremen")])

"""A projection that answers an order with a command to the stock. It doesn't import the application's module."""

from perdure import AggregateRoot, Application, Projection, ProjectionTransaction, StoredEvent, command, event, handles


@event("fulfilled.ordered")
class Ordered:
    sku: str


@event("fulfilled.reserved")
class Reserved:
    total: int


class Order(AggregateRoot, category="fulfilled_order"):
    @command
    def place(self, sku: str) -> None:
        self.raise_event(Ordered(sku=sku))


class Stock(AggregateRoot, category="fulfilled_stock"):
    reserved: int = 0

    @command
    def reserve(self) -> None:
        self.raise_event(Reserved(total=self.reserved + 1))

    @handles
    def _reserved(self, event: Reserved) -> None:
        self.reserved = event.total


class Fulfilment(Projection, name="fulfilment"):
    event_types = (Ordered,)

    def __init__(self, app: Application) -> None:
        self.app = app

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        await self.app.repository(Stock).execute(event.event.sku, Stock.reserve, command_id=event.event_id)

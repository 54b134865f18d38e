from examples.shop.events import StockReceived, StockReserved
from perdure import AggregateRoot, DomainError, command, handles


class OutOfStockError(DomainError):
    """An order wants more pieces than the shop has."""


class Stock(AggregateRoot, category="stock", strict=True):
    """The stock of one product. The shop sells its pieces only as long as some are available."""

    available: int = 0  # pieces that no order has reserved
    price: int = 0  # of a piece, in cents

    @command
    def receive(self, quantity: int, price: int) -> None:
        self._require_pieces(quantity)
        self.raise_event(StockReceived(quantity=quantity, price=price))

    @command
    def reserve(self, order_id: str, quantity: int) -> None:
        self._require_pieces(quantity)
        if quantity > self.available:
            raise OutOfStockError(f"{quantity} of {self.aggregate_id} wanted, {self.available} available")
        self.raise_event(StockReserved(order_id=order_id, quantity=quantity))

    @handles
    def _received(self, event: StockReceived) -> None:
        self.available += event.quantity
        self.price = event.price

    @handles
    def _reserved(self, event: StockReserved) -> None:
        self.available -= event.quantity

    @staticmethod
    def _require_pieces(quantity: int) -> None:
        if quantity < 1:
            raise DomainError("a quantity is 1 or more")

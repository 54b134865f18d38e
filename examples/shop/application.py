"""The application: the aggregates of the shop, their settings, and its read model, in one object."""

from examples.shop.order import Order
from examples.shop.orders_view import OrdersView
from examples.shop.stock import Stock
from perdure import AggregateSettings, Application

app = Application(
    # A product sells for years, an order ends soon. Commands of one stock take its snapshots, `execute_all` takes none:
    # the next delivery takes one that orders have made due.
    aggregates=[Order, AggregateSettings(Stock, snapshot_every=100)],
    projections=[OrdersView()],
)

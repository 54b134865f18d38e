"""The application: the aggregates of the shop, their settings, and its read model, in one object."""

from examples.shop.order import Order
from examples.shop.orders_view import OrdersView
from examples.shop.stock import Stock
from perdure import AggregateSettings, Application

app = Application(
    aggregates=[Order, AggregateSettings(Stock, snapshot_every=100)],  # a product sells for years, an order ends soon
    projections=[OrdersView()],
)

"""A small web shop: its orders reserve stock, and a view shows the orders."""

from examples.shop.application import app

__all__ = ["app"]

"""Upkeep of the schema: migrations, plans, drift, roles."""

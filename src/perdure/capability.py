"""What a store may offer beyond the promises that every store keeps."""

from __future__ import annotations

from typing import Literal, Protocol

Capability = Literal["database", "notifications", "snapshots", "transactions"]
"""What a store may offer beyond the promises that every store keeps. See `EventStore.capabilities`."""


class StoreDatabase(Protocol):
    """The PostgreSQL database in which a store keeps its events, as far as the port knows it.

    `perdure.stores.postgres.connections.database.database_of` returns it in full.

    Attributes:
        schema: The name of the schema that holds the store.
    """

    schema: str

    @property
    def name(self) -> str:
        """The name of the database; empty where its URL has none."""
        ...

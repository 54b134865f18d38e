"""Snapshots in a table of their own, one for each stream."""

from __future__ import annotations

from pathlib import Path

from perdure.snapshot import Snapshot
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.sql_files import Statements


class Snapshots:
    """Reads and writes snapshots.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = Statements(Path(__file__).parent / "sql" / "snapshots", schema=database.quoted_schema)

    async def read(self, stream_id: str) -> Snapshot | None:
        """The snapshot of a stream, if there is one that fits the log."""
        rows = await self._database.fetch(self._sql["read"], stream_id)
        return Snapshot(*rows[0]) if rows else None

    async def write(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, unless there is a later one."""
        await self._database.fetch(
            self._sql["write"],
            snapshot.stream_id,
            snapshot.stream_version,
            snapshot.event_id,
            snapshot.state_version,
            snapshot.state_shape,
            snapshot.state,
        )

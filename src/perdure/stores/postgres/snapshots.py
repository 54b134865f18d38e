"""The table of snapshots: one for each stream."""

from __future__ import annotations

from pathlib import Path

from perdure.snapshot import Snapshot
from perdure.stores.postgres.connections.database import Database, Source
from perdure.stores.postgres.sql_files import Statements


class SnapshotTable:
    """Reads and writes snapshots.

    Args:
        database: the database of the store.
        source: where snapshots are read; by default on connections of the database's pool.
    """

    def __init__(self, database: Database, source: Source | None = None) -> None:
        self._database = database
        self._source: Source = database if source is None else source
        self._sql = Statements(Path(__file__).parent / "sql" / "snapshots", schema=database.quoted_schema)

    async def read(self, stream_id: str) -> Snapshot | None:
        """Return the snapshot of a stream, if the log still has the event after which it was taken; else None."""
        rows = await self._source.fetch(self._sql["read"], stream_id)
        return Snapshot(*rows[0]) if rows else None

    async def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot, unless there is a later one of a version that the stream has reached."""
        await self._database.fetch(
            self._sql["write"],
            snapshot.stream_id,
            snapshot.stream_version,
            snapshot.event_id,
            snapshot.state_version,
            snapshot.state_shape,
            snapshot.state,
        )

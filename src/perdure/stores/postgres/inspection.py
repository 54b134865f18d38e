"""Answers the questions of operators: which streams exist, which sessions hold the fence, whether NOTIFY arrives."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from perdure.errors import FenceHolder
from perdure.events import check_category
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.notifier import seconds_until_heard
from perdure.stores.postgres.schema.namespaces import Namespaces
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parent / "sql"


class StreamSummary(msgspec.Struct, frozen=True):
    """A stream and its last event."""

    stream_id: str
    stream_version: int
    event_type: str
    global_position: int
    recorded_at: datetime


class Fence(msgspec.Struct, frozen=True):
    """How far the log can be read.

    Attributes:
        safe_position: Readers read up to here.
        last_drawn: The last position that was drawn; events up to it may still be committed.
        holders: The sessions that may still commit there, the lowest floor first.
    """

    safe_position: int
    last_drawn: int
    holders: tuple[FenceHolder, ...]


class ServerSession(msgspec.Struct, frozen=True):
    """What the server reports about a connection."""

    server_version: str
    user_name: str
    database_name: str
    clock: datetime


class Inspection:
    """Reads the state of a store's database, and changes nothing.

    Args:
        database: the open database of a store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = Statements(_FOLDER / "inspection", schema=database.quoted_schema)

    async def streams(self, category: str | None = None, *, after: str = "", limit: int = 50) -> list[StreamSummary]:
        """Return a page of streams in the order of their ids. Its cost doesn't grow with the log."""
        begin, end = after, None
        if category is not None:
            check_category(category)
            # The hyphen's successor: ids are compared byte by byte.
            begin, end = max(after, f"{category}-"), f"{category}."
        rows = await self._database.fetch(self._sql["streams"], begin, end, limit)
        return [StreamSummary(*row) for row in rows]

    async def fence(self) -> Fence:
        """Return how far the log can be read, and which sessions hold it back."""
        shared = Statements(_FOLDER / "reads", schema=self._database.quoted_schema)
        holders = await self.fence_holders()
        [(safe_position, last_drawn, _)] = await self._database.fetch(shared["safe_position"], None, None)
        return Fence(safe_position, last_drawn, holders)

    async def fence_holders(self) -> tuple[FenceHolder, ...]:
        """Return the open transactions that have appended, the lowest floor first."""
        return tuple([FenceHolder(*row) for row in await self._database.fetch(self._sql["fence_holders"])])

    async def sharing(self) -> list[str]:
        """Return the other schemas that use the same number for their locks: copies of this one, mostly."""
        async with self._database.connection() as connection:
            return (await Namespaces(self._database.schema).sharing(connection)).others

    async def session(self) -> ServerSession:
        """Return what the server reports about a connection of the pool."""
        [row] = await self._database.fetch(self._sql["session"])
        return ServerSession(*row)

    async def seconds_until_heard(self, timeout: float) -> float | None:
        """Return how long a NOTIFY takes between two connections; None if it didn't arrive, as behind some poolers."""
        return await seconds_until_heard(self._database, timeout)

"""The contents of a database, read without the system that wrote it."""

from pathlib import Path

import asyncpg
import msgspec

from benchmarks.facts import Stored, Totals
from examples.streaming.events import ContentWatched
from perdure.stores.postgres.sql_files import Statements

SQL = Path(__file__).parent / "sql"

_decode = msgspec.json.Decoder(ContentWatched).decode


async def stored_in(url: str, table: str, *, version: str = "stream_version", data: str = "event_data") -> list[Stored]:
    """The events of a table."""
    sql = Statements(SQL / "contents", table=table, version=version, data=data)
    connection = await asyncpg.connect(url)
    try:
        return [Stored(stream_id, at, _decode(text)) for stream_id, at, text in await connection.fetch(sql["events"])]
    finally:
        await connection.close()


async def count_in(url: str, table: str) -> int:
    """How many events are in a table."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(Statements(SQL / "contents", table=table)["count"])
    finally:
        await connection.close()
    return count


async def rows_in(url: str, table: str) -> dict[str, Totals]:
    """The rows of a read model."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(Statements(SQL / "contents", table=table)["rows"])
    finally:
        await connection.close()
    return {content_id: Totals(views, seconds) for content_id, views, seconds in found}

"""The promise about read models, as a check: at its checkpoint, each equals a fresh fold of the log."""

from typing import Any

import asyncpg

from perdure.projection import TableProjection
from perdure.projections.definition import Definition
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold_tables


async def tables_in(url: str, projection: TableProjection[Any]) -> tuple[int, dict[str, dict[Any, Any]]]:
    """The checkpoint, and the rows of all tables by key: in one snapshot, whoever writes meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            position = await connection.fetchval(
                "select global_position from perdure.projections where name = $1 and version = $2",
                projection.name,
                projection.version,
            )
            tables = {}
            for table in Definition(projection).tables:
                rows = await connection.fetch(f'select * from "{table.name}"')
                keys = [tuple(row[name] for name in table.key) for row in rows]
                tables[table.view] = {
                    (key[0] if len(key) == 1 else key): table.row(**dict(row))
                    for key, row in zip(keys, rows, strict=True)
                }
            return position, tables
    finally:
        await connection.close()


async def check_against_fold(store: PostgreSQLEventStore, url: str, projection: TableProjection[Any]) -> int:
    """Compare, and return the checkpoint."""
    position, tables = await tables_in(url, projection)
    events = [stored for stored in await store.read_all_events() if stored.global_position <= position]
    assert tables == fold_tables(projection, events)
    return position

"""Reads streams and snapshots in a caller's transaction: with what it has appended, on its own connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn

import asyncpg

from perdure.errors import UnsupportedOperationError
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.reader import Reader


class TransactionSource:
    """Runs statements in a transaction, as `Database` does on connections of its pool.

    Args:
        session: lends the connection of the transaction for a statement, after it has checked the transaction.
    """

    def __init__(self, session: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        self._session = session

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend the connection of the transaction. Raises as an append in the transaction does."""
        async with self._session() as connection:
            yield connection

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one statement."""
        async with self._session() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetch_value(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of one statement."""
        async with self._session() as connection:
            return await connection.fetchval(sql, *arguments)


class TransactionReader(Reader):
    """Reads streams in a transaction. It refuses to read the log there.

    Positions of the transaction's own appends aren't final: after a rollback, they belong to no event. A reader of the
    log would go past them, and past the positions that other open appends may still fill.

    Args:
        database: the database of the store.
        source: the transaction.
    """

    def __init__(self, database: Database, source: TransactionSource) -> None:
        super().__init__(database, source)

    async def log_page(self, *_: object, **__: object) -> NoReturn:
        """Raise UnsupportedOperationError."""
        _refuse()

    async def log_page_backwards(self, *_: object, **__: object) -> NoReturn:
        """Raise UnsupportedOperationError."""
        _refuse()


def _refuse() -> NoReturn:
    raise UnsupportedOperationError(
        "the log can't be read in a transaction, because the positions of its own appends aren't final: read streams "
        "in it, and the log outside"
    )

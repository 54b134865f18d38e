"""`connect`: an event store from a URL, from the environment, or on an embedded PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from perdure.checks import check_count, check_flag
from perdure.commit import PAYLOAD_LIMIT
from perdure.errors import InvalidArgumentError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.statements import quoted_schema
from perdure.stores.postgres.store import PostgreSQLEventStore


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    schema: str = "perdure",
    migrate: bool = True,
    payload_limit: int = PAYLOAD_LIMIT,
    directory: Path | str | None = None,
) -> AsyncGenerator[PostgreSQLEventStore]:
    """Open an event store for the length of an ``async with`` block.

    The database is, in this order: `url`, the variable PERDURE_DATABASE_URL, the variable DATABASE_URL, or an embedded
    PostgreSQL (extra ``embedded``) in ``./.perdure``, started or joined. For more settings, make a
    `PostgreSQLEventStore` yourself.

    Args:
        url: ``postgresql://user@host:port/database``.
        schema: the schema that holds the store; several stores may share a database.
        migrate: whether to apply missing migrations; if not, they are an error.
        payload_limit: how many bytes the payload of an event may take.
        directory: where the embedded server keeps its data, instead of ``./.perdure``.

    Raises:
        InvalidArgumentError: an argument can't be used; nothing was started.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
        SchemaOutdatedError, SchemaTooNewError: the schema doesn't fit this version of Perdure.
        MissingExtraError, EmbeddedServerError: the embedded server can't be used.

    Example:
        async with perdure.connect() as store:
            await store.append_to_stream("user-123", NO_STREAM, [UserRegistered(...)])
    """
    # Before a server is started for nothing.
    quoted_schema(schema)
    check_flag("migrate", migrate)
    check_count("payload_limit", payload_limit, 1)
    async with (
        located_database(url, directory) as (located, revive),
        PostgreSQLEventStore(
            located, schema=schema, migrate=migrate, payload_limit=payload_limit, revive=revive
        ) as store,
    ):
        yield store


@asynccontextmanager
async def located_database(
    url: str | None, directory: Path | str | None = None
) -> AsyncGenerator[tuple[str, Callable[[], Awaitable[str]] | None]]:
    """The URL of the database that `connect` would use, and what revives it if it is an embedded one."""
    if url is not None and directory is not None:
        raise InvalidArgumentError("directory", "is the embedded server's, but url names another server: give one only")
    if url is None and directory is None:
        url = os.environ.get("PERDURE_DATABASE_URL") or os.environ.get("DATABASE_URL") or None
    if url is not None:
        yield url, None
        return
    async with EmbeddedPostgreSQL(directory) as server:

        async def revived() -> str:
            await server.ensure_running()
            return server.url

        yield server.url, revived

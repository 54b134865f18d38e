"""`connect`: an event store from a URL, from the environment, or on an embedded PostgreSQL."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

from perdure.async_block import async_block
from perdure.checks import check_count, check_flag
from perdure.commit import PAYLOAD_LIMIT
from perdure.errors import InvalidArgumentError
from perdure.errors.mask import masked_url
from perdure.observation import keys
from perdure.stores.postgres.connections.database_url import DatabaseURL, check_url
from perdure.stores.postgres.embedded import DIRECTORY_VARIABLE, EmbeddedPostgreSQL
from perdure.stores.postgres.sql_files import quoted_store_schema
from perdure.stores.postgres.store import PostgreSQLEventStore

logger = logging.getLogger("perdure.postgres")

OWN_VARIABLE: Final = "PERDURE_DATABASE_URL"
SHARED_VARIABLE: Final = "DATABASE_URL"
"""The variable that other libraries use, too, so that it may have been set without a thought of Perdure."""
URL_VARIABLES: Final = (OWN_VARIABLE, SHARED_VARIABLE)

_announced: Final[set[str]] = set()
"""The URLs of `SHARED_VARIABLE` that this process has logged, without their passwords."""


class ConnectSettings(TypedDict, total=False):
    """The arguments of `connect`, to pass to it later."""

    url: str | None
    schema: str
    migrate: bool
    payload_limit: int
    directory: Path | str | None
    direct_url: str | None
    read_only: bool


class ChosenDatabase(NamedTuple):
    """The database that `connect` would use, and what chose it."""

    database: str | EmbeddedPostgreSQL
    """Its URL, or the embedded server to start or to join."""
    source: str
    """What chose it: ``url``, ``directory``, the name of a variable, or ``default``."""


def choose_database(url: str | None = None, directory: Path | str | None = None) -> ChosenDatabase:
    """Return the database that these arguments and the environment choose. See `connect` for the order.

    Raises:
        InvalidArgumentError: both are given, or the directory can't be used.
    """
    if url is not None and directory is not None:
        raise InvalidArgumentError(
            "directory", "is the embedded server's, but url names another server: give only one of them"
        )
    if directory is not None:
        return ChosenDatabase(EmbeddedPostgreSQL(directory), "directory")
    if url is not None:
        return ChosenDatabase(url, "url")
    for variable in URL_VARIABLES:
        if found := os.environ.get(variable):
            return ChosenDatabase(found, variable)
    return ChosenDatabase(EmbeddedPostgreSQL(), DIRECTORY_VARIABLE if DIRECTORY_VARIABLE in os.environ else "default")


@async_block("async with perdure.connect() as store:")
async def connect(
    url: str | None = None,
    *,
    schema: str = "perdure",
    migrate: bool = True,
    payload_limit: int = PAYLOAD_LIMIT,
    directory: Path | str | None = None,
    direct_url: str | None = None,
    read_only: bool = False,
) -> AsyncGenerator[PostgreSQLEventStore]:
    """Open an event store for the length of an ``async with`` block.

    The database is the first of these: `url`, the variable PERDURE_DATABASE_URL, the variable DATABASE_URL, or an
    embedded PostgreSQL (extra ``embedded``) in ``./.perdure``, which is started or joined. Other libraries use
    DATABASE_URL, too. So the log says, once in a process, that it was taken, and warns if the schema is made there.
    For more settings, make a `PostgreSQLEventStore` yourself.

    Args:
        url: ``postgresql://user@host:port/database``. It may name several hosts: `connect` finds the primary. URLs of
            SQLAlchemy and libpq are understood, too, such as ``postgresql+asyncpg://user@host/database?ssl=require``.
        schema: the schema that holds the store; several stores may share a database.
        migrate: whether to apply missing migrations; if not, they are an error.
        payload_limit: how many bytes the payload of an event may take.
        directory: where the embedded server stores its data, instead of ``./.perdure``.
        direct_url: the URL of the server itself, if `url` is that of a pooler: for LISTEN, and to apply migrations.
        read_only: whether the store only reads and follows, which also works on a standby.

    Raises:
        InvalidArgumentError: an argument can't be used; nothing was started.
        ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
        SchemaOutdatedError, SchemaTooNewError: the schema doesn't fit this version of Perdure.
        MissingExtraError, EmbeddedServerError: the embedded server can't be used.

    Example:
        async with perdure.connect() as store:
            await store.append_to_stream("user-123", NO_STREAM, [UserRegistered(...)])
    """
    # Check first: otherwise a server might be started for nothing.
    quoted_store_schema(schema)
    check_flag("migrate", migrate)
    check_flag("read_only", read_only)
    check_count("payload_limit", payload_limit, 1)
    if direct_url is not None:
        check_url(direct_url)
    chosen = choose_database(url, directory)
    async with located_database(chosen) as (located, revive):
        opened = PostgreSQLEventStore(
            located,
            schema=schema,
            migrate=migrate,
            payload_limit=payload_limit,
            revive=revive,
            direct_url=direct_url,
            read_only=read_only,
        )
        opened.database.is_of_shared_variable = chosen.source == SHARED_VARIABLE
        async with opened as store:
            yield store


@asynccontextmanager
async def located_database(chosen: ChosenDatabase) -> AsyncGenerator[tuple[str, Callable[[], Awaitable[str]] | None]]:
    """Yield the URL of the database that `connect` would use, and a function that restarts it if it is embedded."""
    database, source = chosen
    if not isinstance(database, EmbeddedPostgreSQL):
        if source == SHARED_VARIABLE:
            _announce(masked_url(DatabaseURL.parse(database).for_clients()))
        yield database, None
        return
    async with database as server:

        async def revived() -> str:
            await server.ensure_running()
            return server.url

        yield server.url, revived


def _announce(url: str) -> None:
    if url not in _announced:
        _announced.add(url)
        logger.info(
            "no URL was given, so the event store is in the database of %s: %s; to choose another, set %s",
            *(SHARED_VARIABLE, url, OWN_VARIABLE),
            extra=keys(operation="connect"),
        )

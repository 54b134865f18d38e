"""The database of a store: its connections, and the schema that holds the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import asyncpg

from perdure.checks import check_count, check_function, check_seconds
from perdure.errors import (
    InvalidArgumentError,
    StoreClosedError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from perdure.observation import keys
from perdure.store import EventStore
from perdure.stores.postgres.connections.database_url import DatabaseURL
from perdure.stores.postgres.connections.hosts import Hosts
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.connections.reachability import Reachability
from perdure.stores.postgres.driver_errors import CONNECTION_LOST, translated_errors
from perdure.stores.postgres.sql_files import Statements, quoted_store_schema
from perdure.tasks import Tasks

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

logger = logging.getLogger("perdure.postgres")

# A string, because the driver's classes are generic in their stubs only.
Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
"""A connection to the database, dedicated or of the pool."""


C = TypeVar("C")


class Source(Protocol):
    """Where statements run: a `Database`, on connections of its pool, or a transaction of a caller."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for short work."""
        ...

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one statement."""
        ...

    async def fetch_value(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of one statement."""
        ...


_DEAD_OR_DYING = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InternalClientError,
)
_CLOSE_WITHIN = 5.0
"""Seconds that closing waits for connections that are in use."""
_PAUSES_WHILE_DYING = (0.0, 0.05, 0.2, 0.5)
"""Seconds: a server that was killed may still take a connection for a moment, and one that starts takes none yet."""


class Database:
    """A PostgreSQL database: a pool for short work, dedicated connections for the rest, and Perdure's errors.

    Args:
        url: ``postgresql://user@host:port/database``, or several hosts; the rest comes from the ``PG*`` variables.
            URLs of SQLAlchemy and libpq are understood, too. The time-outs of the URL come before the arguments.
        schema: the schema that holds the store.
        pool_size: how many connections the pool may open.
        connect_timeout: seconds that opening a connection may take, for each host of the URL.
        command_timeout: seconds that a statement may take.
        revive: called when a connection fails, before it is tried again: starts an embedded server, returns its URL.
        direct_url: leads to the server itself where `url` leads to a pooler.
        default_target: which of several hosts will do, where the URL has no ``target_session_attrs``.
        tasks: the background tasks of the store, if the database belongs to one.

    Attributes:
        reachability: whether it can be reached.
        is_of_shared_variable: whether its URL is that of DATABASE_URL, which other libraries use, too. To make a schema
            there may be a surprise.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "perdure",
        pool_size: int = 10,
        connect_timeout: float = 10.0,
        command_timeout: float = 60.0,
        revive: Callable[[], Awaitable[str]] | None = None,
        direct_url: str | None = None,
        default_target: str = "read-write",
        tasks: Tasks | None = None,
    ) -> None:
        parsed = DatabaseURL.parse(url)
        direct = None if direct_url is None else DatabaseURL.parse(direct_url)
        check_count("pool_size", pool_size, 1)
        for name, seconds in (("connect_timeout", connect_timeout), ("command_timeout", command_timeout)):
            check_seconds(name, seconds)
            if not seconds:
                raise InvalidArgumentError(name, "is 0, which is too short for anything")
        if revive is not None:
            check_function("revive", revive)
        self.is_of_shared_variable = False
        self.schema = schema
        self.quoted_schema = quoted_store_schema(schema)
        self._url = url
        self._is_pooled: bool | None = None
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._default_target = default_target
        self.reachability = Reachability("the database")
        self._direct_reachability = self.reachability if direct_url is None else Reachability("direct_url's server")
        self._hosts = self._hosts_of(parsed)
        self._direct_hosts = None if direct is None else self._hosts_of(direct)
        self._revive = revive
        self._tasks = Tasks("the database", "connect") if tasks is None else tasks
        self._pool: Pool | None = None

    def __repr__(self) -> str:
        return f"Database({self._hosts}/{self.name}, schema={self.schema!r})"

    @property
    def name(self) -> str:
        """The name of the database, as the URL gives it; empty where it doesn't."""
        return DatabaseURL.parse(self._url).name

    @property
    def url(self) -> str:
        """Its URL for other clients, such as psql, without the password. That of an embedded server changes."""
        return DatabaseURL.parse(self._url).for_clients()

    @property
    def may_be_deaf(self) -> bool:
        """Whether a pooler may be between the store and the server, so that LISTEN may receive nothing."""
        return self._direct_hosts is not None or self._is_pooled is not False

    async def open(self) -> None:
        """Open the pool. Connections are made when they are needed."""
        if self._is_pooled is None:
            async with self.session():
                pass
        self._pool = Pool(self._open_for_pool, self._pool_size, self._tasks)
        self.reachability.is_watched = self._direct_reachability.is_watched = True

    async def close(self) -> None:
        """Close the pool. Connections that are still in use after a moment are cut off."""
        pool, self._pool = self._pool, None
        self.reachability.forget()
        self._direct_reachability.forget()
        if pool is not None:
            await pool.close(_CLOSE_WITHIN)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection of the pool, for short work.

        Raises:
            StoreUnavailableError: the server can't be reached, or went away.
        """
        with self._translated():
            pool = self._pool
            if pool is None:
                raise StoreClosedError
            connection = await pool.acquire(self._hosts.patience)
            began = time.monotonic()
            try:
                yield connection
            except BaseException as error:
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    self._leave_server()
                pool.restore(connection)
                raise
            pool.release(connection)
            self.reachability.worked(began)

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetch_value(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of one statement."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def connect(self) -> asyncpg.Connection[Any]:
        """Return a dedicated connection, which the caller closes.

        Raises:
            StoreUnavailableError, AuthenticationError, ConfigurationError: it can't be had.
        """
        with self.reachability.attempt(), translated_errors():
            return await self._revived(self._connect)

    async def connect_directly(self) -> asyncpg.Connection[Any]:
        """Return a dedicated connection to `direct_url`, for work that needs a session. Raises as `connect` does."""
        if self._direct_hosts is None:
            return await self.connect()
        with self._direct_reachability.attempt(), translated_errors():
            return await self._direct_hosts.connect(**self._settings())

    @asynccontextmanager
    async def session(self, *, direct: bool = False) -> AsyncGenerator[asyncpg.Connection[Any]]:
        """Lend a dedicated connection, for work that is rare. Raises as `connect` does."""
        with translated_errors():
            connection = await (self.connect_directly() if direct else self.connect())
            try:
                yield connection
            finally:
                connection.terminate()

    def _hosts_of(self, url: DatabaseURL) -> Hosts:
        return Hosts(
            url.for_driver,
            timeout=url.connect_timeout or self._connect_timeout,
            command_timeout=url.command_timeout or self._command_timeout,
            default_target=self._default_target,
            on_move=self._move,
        )

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection = await self._hosts.connect(**self._settings())
        if self._is_pooled is None:
            try:
                self._is_pooled = await is_pooled(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _open_for_pool(self) -> asyncpg.Connection[Any]:
        with self.reachability.attempt(), translated_errors():
            return await self._revived(lambda: self._hosts.connect(**self._settings()))

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Raise Perdure's errors instead of the driver's, and mark those that mean the database is away."""
        try:
            with translated_errors():
                yield
        except StoreUnavailableError as error:
            if isinstance(error.__cause__, CONNECTION_LOST) and not _is_refused(error.__cause__):
                error.is_away = error.is_away or self.reachability.lost()
            raise

    def _settings(self) -> dict[str, Any]:
        """Return settings for a connection. Through a pooler, named statements don't work."""
        return {} if self._is_pooled is False else {"statement_cache_size": 0}

    def _move(self, host: str, former: str) -> None:
        self._leave_server()
        self.reachability.moved(host, former)

    def _leave_server(self) -> None:
        """Never use again a connection of the pool that is open now: its server isn't the primary."""
        if self._pool is not None:
            self._pool.expire()

    def _move_to(self, url: str) -> None:
        self._url = url
        self._hosts = self._hosts_of(DatabaseURL.parse(url))

    async def _revived(self, connect: Callable[[], Awaitable[C]]) -> C:
        for pause in _PAUSES_WHILE_DYING if self._revive else ():
            try:
                return await connect()
            except _DEAD_OR_DYING as error:
                if self._revive is None or isinstance(error, TimeoutError):
                    raise
                logger.debug("starting the server again: %s", error, extra=keys(error, operation="connect"))
                self._move_to(await self._revive())
            await asyncio.sleep(pause)
        return await connect()


def _is_refused(error: BaseException) -> bool:
    """Return whether the server answered, but refuses writes."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def database_of(store: EventStore) -> Database:
    """Return the PostgreSQL database of a store, which projections need.

    Raises:
        UnsupportedOperationError: the store has none.
    """
    if not isinstance(store.database, Database):
        raise UnsupportedOperationError(
            f"{type(store).__name__} has no PostgreSQL database: use a PostgreSQLEventStore "
            "(perdure.testing.fold returns the rows of a projection without a database)"
        )
    return store.database


_SQL = Statements(Path(__file__).parents[1] / "sql" / "connections")


async def session_of(connection: Connection) -> int:
    """Return the pid of the session that serves the connection: behind a pooler, in this transaction only."""
    pid: int = await connection.fetchval(_SQL["backend_pid"])
    return pid


async def is_pooled(connection: asyncpg.Connection[Any]) -> bool:
    """Return whether a pooler of any kind is in between: the pid that it reports isn't that of the server's session."""
    return await session_of(connection) != connection.get_server_pid()

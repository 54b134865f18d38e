"""The event store on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal, overload

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from perdure.capability import Capability
from perdure.checks import check_count, check_flag, check_instance, check_seconds
from perdure.commit import PAYLOAD_LIMIT, AppendResult, Commit, CommitGroup
from perdure.errors import (
    ConfigurationError,
    InvalidArgumentError,
    SchemaError,
    StoreClosedError,
    TransactionError,
    WrongContextError,
)
from perdure.errors.formats import shown
from perdure.store import EventStore
from perdure.stores.postgres.appends.group_commit import GroupAppender
from perdure.stores.postgres.appends.multi_stream import MultiStreamAppender
from perdure.stores.postgres.appends.queue import AppendQueue
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.connections.server import check_server
from perdure.stores.postgres.notifier import Notifier
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.schema.migrator import Migrator
from perdure.stores.postgres.snapshots import SnapshotTable
from perdure.stores.postgres.sql_files import Statements
from perdure.stores.postgres.standby_publisher import StandbyPublisher
from perdure.stores.postgres.transactions.joined_transaction import JoinedTransaction
from perdure.stores.postgres.transactions.own_transaction import OwnTransaction
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction
from perdure.tasks import Tasks
from perdure.transaction import Transaction


class PostgreSQLEventStore(EventStore):
    """Streams of events in a schema of a PostgreSQL database. `perdure.connect` makes one.

    It opens connections as it needs them: at most `pool_size`, one for each of `append_lanes`, and two for
    notifications: one sends them, one listens.

    Args:
        url: ``postgresql://user@host:port/database``; the ``PG*`` variables supply what is missing. It may be the URL
            of a pooler in transaction mode.
        schema: the schema that holds the store; several stores may share a database.
        migrate: whether to apply missing migrations on opening; if not, they are an error.
        payload_limit: how many bytes the payload of an event may take.
        pool_size: how many connections may be open for reading and for transactions.
        append_lanes: how many batches of appends may be under way at once, each on its own connection.
        batch_commits: how many commits may share a batch.
        queue_events: how many events may be queued or under way before further callers have to wait.
        queue_bytes: how many bytes these events may take.
        append_timeout: seconds that an append may wait in the queue, for its stream, or to resolve an unknown outcome.
        connect_timeout: seconds that opening a connection may take.
        command_timeout: seconds that a statement may take.
        close_timeout: seconds that closing waits for appends that are under way.
        revive: called when a connection fails, before the next attempt: starts an embedded server, returns its URL.
        direct_url: the URL of the server itself, if `url` is that of a pooler: for LISTEN, and to apply migrations.
        read_only: whether the store only reads and follows, which also works on a standby. Of several hosts, the store
            then uses any.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "perdure",
        migrate: bool = True,
        payload_limit: int = PAYLOAD_LIMIT,
        pool_size: int = 10,
        append_lanes: int = 2,
        batch_commits: int = 256,
        queue_events: int = 20_000,
        queue_bytes: int = 64 * 1024 * 1024,
        append_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        command_timeout: float = 60.0,
        close_timeout: float = 10.0,
        revive: Callable[[], Awaitable[str]] | None = None,
        direct_url: str | None = None,
        read_only: bool = False,
    ) -> None:
        check_flag("migrate", migrate)
        check_flag("read_only", read_only)
        check_count("append_lanes", append_lanes, 1)
        check_count("batch_commits", batch_commits, 1)
        check_count("queue_events", queue_events, 1)
        check_count("queue_bytes", queue_bytes, 1)
        check_seconds("append_timeout", append_timeout)
        check_seconds("close_timeout", close_timeout)
        tasks = Tasks("the event store", "follow")
        self._database = Database(
            url,
            schema=schema,
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            revive=revive,
            direct_url=direct_url,
            default_target="any" if read_only else "read-write",
            tasks=tasks,
        )
        self._is_read_only = read_only
        super().__init__(
            Reader(self._database), SnapshotTable(self._database), payload_limit=payload_limit, tasks=tasks
        )
        self._migrator = Migrator(self.database)
        self._migrate = migrate
        self._lanes = append_lanes
        self.append_timeout = append_timeout
        self._close_timeout = close_timeout
        self._queue_limits = {
            "max_events": queue_events,
            "max_bytes": queue_bytes,
            "batch_commits": batch_commits,
            "batch_bytes": 4 * 1024 * 1024,
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"PostgreSQLEventStore({self.database!r})"

    @property
    def database(self) -> Database:
        """The database of the store: connections, and the name of its schema."""
        return self._database

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All capabilities that a store can have; a read-only store has no notifications and transactions."""
        if self.is_read_only:
            return frozenset({"database", "snapshots"})
        return frozenset({"database", "notifications", "snapshots", "transactions"})

    @property
    def is_read_only(self) -> bool:
        """Whether the store was made to read and follow only."""
        return self._is_read_only

    @property
    def is_open(self) -> bool:
        """Whether it accepts work."""
        return self._loop is not None and not self._loop.is_closed()

    async def open(self) -> None:
        """Connect, check the server and the schema, and apply missing migrations.

        Raises:
            ConfigurationError, AuthenticationError, StoreUnavailableError: the database can't be used.
            SchemaOutdatedError, SchemaTooNewError: the schema doesn't fit this version of Perdure.
            NamespaceSharedError: the schema is a copy of another one in the same database.
            SchemaError: the log was restored without its sequence.
        """
        if self.is_open:
            raise WrongContextError("the store is open already")
        self.tasks.reset()
        async with self.database.session() as connection:
            await check_server(connection, is_read_only=self.is_read_only)
            is_applying = self._migrate and not self.is_read_only
            await (self._migrator.apply(connection) if is_applying else self._migrator.check(connection))
            await self._migrator.check_number(connection)
            await self._check_sequence(connection)
            self._publisher = StandbyPublisher(self.database, self.changes, self.tasks)
            if not self.is_read_only:
                await self._publisher.start(connection)
        await self.database.open()
        self._notifier = Notifier(self.database, self.changes, self.tasks)
        self._group = GroupAppender(
            self.database,
            AppendQueue(**self._queue_limits, timeout=self.append_timeout),
            lanes=self._lanes,
            announce=self._notifier.notify,
            timeout=self.append_timeout,
            tasks=self.tasks,
        )
        if not self.is_read_only:
            self._notifier.start()
            self._group.start()
        self._groups = MultiStreamAppender(self.database, announce=self._notifier.notify, timeout=self.append_timeout)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    async def close(self) -> None:
        """Append what is queued, for at most `close_timeout` seconds, and close all connections."""
        if self._loop is None:
            return
        self.check_usable()
        self._loop = None
        self.changes.announce()  # followers find the store closed
        async with AsyncExitStack() as stack:
            for part in (self.database, self._notifier, self._publisher):
                stack.push_async_callback(part.close)
            await self._group.close(self._close_timeout)

    @property
    def is_listening(self) -> bool | None:
        """Whether NOTIFY of other processes wakes followers here; None before the first follower."""
        self.check_usable()
        return self._notifier.is_listening

    def check_usable(self) -> None:
        """Raise unless the store is open, in this process and this event loop.

        Raises:
            StoreClosedError: it isn't open.
            WrongContextError: it was opened in another process or event loop.
        """
        if self._loop is None:
            raise StoreClosedError
        if self._process != os.getpid():
            raise WrongContextError("the store was opened before this process was forked: open one in each process")
        if self._loop is not asyncio.get_running_loop():
            raise WrongContextError("the store was opened in another event loop: open one in each loop")

    async def check_writable(self) -> None:
        """Raise unless the database can be reached, and accepts appends if this store may write."""
        self.check_usable()
        sql = Statements(Path(__file__).parent / "sql" / "connections", schema=self.database.quoted_schema)
        [(in_recovery, read_only)] = await self.database.fetch(sql["writable"])
        if self.is_read_only:
            return
        if in_recovery:
            raise ConfigurationError("the server is a standby, which accepts no appends: give the primary's URL")
        if read_only:
            raise ConfigurationError(
                "default_transaction_read_only is on, so the server accepts no appends: "
                "use another user, or turn it off"
            )

    async def check_schema(self) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the schema is as this version of Perdure needs it."""
        self.check_usable()
        async with self.database.connection() as connection:
            await self._migrator.check(connection)

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit. Raises as `append_to_stream` does."""
        self._check_may_write()
        if tx is None:
            return await self._group.append(commit)
        return await self._own(tx).append(commit)

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write a group of commits, all or nothing. Raises as `append_to_streams` does."""
        self._check_may_write()
        if tx is None:
            return await self._groups.append(group)
        return await self._own(tx).append_group(group)

    def wake(self) -> None:
        """Make all followers of the log read at once, here and in other processes, as after an append."""
        self._notifier.notify()

    def on_follow(self) -> None:
        """Listen to other processes from now on: their NOTIFY wakes followers here."""
        self.check_usable()
        self._notifier.listen()

    @overload
    def transaction(
        self, connection: Connection | None = None, *, commit: Literal["store"] = "store"
    ) -> PostgreSQLTransaction: ...

    @overload
    def transaction(self, connection: Connection, *, commit: Literal["caller"]) -> JoinedTransaction: ...

    def transaction(
        self, connection: Connection | None = None, *, commit: Literal["store", "caller"] = "store"
    ) -> PostgreSQLTransaction:
        """Return a transaction that appends take part in, on the caller's connection or on one of the pool.

        After its first append, followers of the log wait until it ends: append last, and commit soon.

        Args:
            connection: the caller's connection; None for one of the pool.
            commit: what begins and ends it. ``"store"``: the store, with the block. ``"caller"``: other code, such as a
                session of SQLAlchemy; `connection` is in the transaction already. See `JoinedTransaction`.

        Example:
            async with store.transaction() as tx:
                await tx.connection.execute("insert into outbox ...")
                await users.save(user, tx=tx)
        """
        if connection is not None:
            check_instance("connection", connection, asyncpg.Connection, PoolConnectionProxy)
        if commit not in ("store", "caller"):
            raise InvalidArgumentError("commit", f'of a transaction must be "store" or "caller", not {shown(commit)}')
        self._check_may_write()
        if commit == "store":
            return OwnTransaction(self.database, self._notifier.notify, connection)
        if connection is None:
            raise InvalidArgumentError("connection", 'must be given with commit="caller": the one in the transaction')
        return JoinedTransaction(self.database, self._notifier.notify, connection)

    async def _check_sequence(self, connection: asyncpg.Connection[Any]) -> None:
        schema = self.database.quoted_schema
        sql = Statements(
            Path(__file__).parent / "sql" / "schema", schema=schema, schema_literal=schema.replace("'", "''")
        )
        if await connection.fetchval(sql["sequence_is_behind"]):
            raise SchemaError(
                f"schema {self.database.schema!r}: the sequence of positions is behind the last event, as after a "
                "restore of the data alone, so that an event could be written where readers have passed: restore the "
                f"whole schema, or set the sequence: setval('{schema}.global_position', the highest global_position)"
            )

    def check_transaction(self, tx: object) -> None:
        """Raise TransactionError unless `tx` is a transaction that this store's `transaction` has returned."""
        _ = self._own(tx)

    def _own(self, tx: object) -> PostgreSQLTransaction:
        if not isinstance(tx, PostgreSQLTransaction) or not tx.is_of(self.database):
            raise TransactionError("tx isn't a transaction of this store: use the one that its transaction() returned")
        return tx

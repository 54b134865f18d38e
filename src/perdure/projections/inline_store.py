"""`InlineProjections`: a store whose appends write the rows of projections in the same transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar, overload

from perdure.capability import Capability
from perdure.checks import check_instance, check_seconds
from perdure.commit import AppendResult, Commit, CommitGroup
from perdure.errors import DatabaseError, InlineProjectionError, ReadOnlyStoreError, StoreClosedError
from perdure.projection import TableProjection
from perdure.projections.engines.factory import check_names
from perdure.projections.engines.inline.definition import InlineDefinition
from perdure.projections.engines.inline.rows import EventFailedError, InlineRows
from perdure.projections.engines.table.processor import REFUSALS
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.runtime.progress import wait_until_shown
from perdure.projections.runtime.supervisor import BuildSupervisor
from perdure.projections.state.options import RunnerOptions
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database
from perdure.stores.postgres.deadlocks import outlasted
from perdure.stores.postgres.driver_errors import translated_errors
from perdure.stores.postgres.sql_files import quote_identifier
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.stores.postgres.transactions.joined_transaction import JoinedTransaction
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction
from perdure.stream_locks import StreamLocks
from perdure.tasks import Tasks
from perdure.transaction import Transaction

R = TypeVar("R")


class InlineProjections(EventStore):
    """A store around another one. Its appends also write rows: events and rows are committed together, or neither.

    It supports only projections whose key is the stream (`by_stream`). An append to a stream of their categories runs
    in its own transaction instead of sharing a commit, which is several times slower. Other appends don't change.

    It also follows the log, for events that were appended without it: earlier, or by programs that use the inner store.
    Opening returns once the rows show the whole log. Operators see its status, pause it and skip events as with other
    projections. A pause stops only the following of the log, not the rows that appends write.

    Args:
        store: the inner store; opened and closed with this one, unless it is open already.
        projections: the projections whose rows appends write.
        schema: the schema for tables and views; created if it is missing.
        catch_up_timeout: how many seconds opening waits at most for the rows to show what is in the log.

    Raises:
        ProjectionDefinitionError: a projection can't be inline; the message says why.
        ReadOnlyStoreError: the store is read only.

    Example:
        async with InlineProjections(PostgreSQLEventStore(url), [UserProfiles()]) as store:
            await Repository(User, store).save(user)  # the row is there
    """

    def __init__(
        self,
        store: PostgreSQLEventStore,
        projections: Sequence[TableProjection[Any]],
        *,
        schema: str = "public",
        catch_up_timeout: float = 3600.0,
    ) -> None:
        check_instance("store", store, PostgreSQLEventStore)
        if store.is_read_only:
            raise ReadOnlyStoreError
        check_seconds("catch_up_timeout", catch_up_timeout)
        check_instance("projections", projections, list, tuple)
        quote_identifier(schema, "schema")
        super().__init__(store.reader, store.snapshots, payload_limit=store.payload_limit, tasks=store.tasks)
        self.changes, self.head = store.changes, store.head
        self._store = store
        self._timeout = catch_up_timeout
        self._options = RunnerOptions(schema=schema)
        self._projections = list(projections)
        self._definitions = [InlineDefinition(projection) for projection in projections]
        check_names(self._definitions)
        self._rows = [(one, InlineRows(store.database, one, TableStorage(one, schema))) for one in self._definitions]
        self._stream_locks = StreamLocks()
        self._stack = AsyncExitStack()
        self._catch_up: Tasks | None = None
        """What folds the events that were appended without this store."""
        self._is_open = False

    @property
    def database(self) -> Database:
        """The database of the inner store."""
        return self._store.database

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the inner store offers."""
        return self._store.capabilities

    @property
    def is_listening(self) -> bool | None:
        """Whether appends of other processes wake followers in this one; None while nothing listens for them."""
        return self._store.is_listening

    def check_usable(self) -> None:
        """Raise unless the inner store can be used."""
        self._store.check_usable()

    def check_alive(self) -> None:
        """Raise unless this store is open and the inner store works."""
        self._store.check_alive()
        self._check_open()
        if self._catch_up is not None:
            self._catch_up.check_alive()

    def check_running(self) -> None:
        """Raise unless all background tasks do their work: those of the inner store, and those that catch up."""
        self._store.check_running()
        self._check_open()
        if self._catch_up is not None:
            self._catch_up.check_running()

    async def check_writable(self) -> None:
        """Raise unless the database can be reached, and accepts appends."""
        await self._store.check_writable()

    async def check_schema(self) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the schema is as this version of Perdure needs it."""
        await self._store.check_schema()

    def wake(self) -> None:
        """Make all followers of the log read at once, here and in other processes, as after an append."""
        self._store.wake()

    @property
    def is_open(self) -> bool:
        """Whether the store accepts work."""
        return self._is_open and self._store.is_open

    async def open(self) -> None:
        """Create the missing tables, and wait until the rows show the whole log.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the tables aren't those of the projections, or their build
                is run by a service.
            ProjectionPausedError: an event of the log can't be folded; fix the cause, then resume or skip it.
            ProjectionTimeoutError: it took too long.
            ConfigurationError, StoreUnavailableError, and the other errors of opening the inner store.
        """
        async with AsyncExitStack() as stack:
            if not self._store.is_open:
                await stack.enter_async_context(self._store)
            builds = BuildSupervisor(self._store, self._projections, self._options, InlineDefinition)
            stack.push_async_callback(builds.stop, 10.0)
            await builds.start()
            for last in await self._store.read_all_events_backwards(max_count=1):
                for projection in self._projections:
                    await wait_until_shown(self.database, projection.name, last.global_position, self._timeout)
            self._stack = stack.pop_all()
        self._catch_up = builds.tasks
        self._is_open = True

    async def close(self) -> None:
        """Stop following the log, and close the store if it was opened here."""
        self._is_open = False
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit and its rows. Raises as `append_to_stream` does, and InlineProjectionError."""
        self._check_open()
        if not self._concerns([commit]):
            return await self._store.append(commit, tx)

        async def attempt() -> AppendResult:
            async with self._within(tx, [commit]) as own:
                result = await self._store.append(commit, own)
                await self._fold(own, [commit], [result])
            return result

        return await self._outlasted(attempt, tx)

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write a group of commits and their rows, all or nothing. Raises as `append` does."""
        self._check_open()
        if not self._concerns(group.commits):
            return await self._store.append_group(group, tx)

        async def attempt() -> list[AppendResult]:
            async with self._within(tx, group.commits) as own:
                results = await self._store.append_group(group, own)
                await self._fold(own, group.commits, results)
            return results

        return await self._outlasted(attempt, tx)

    async def _outlasted(self, attempt: Callable[[], Awaitable[R]], tx: Transaction | None) -> R:
        return await (attempt() if tx is not None else outlasted(attempt, self._store.append_timeout))

    def _concerns(self, commits: Sequence[Commit]) -> bool:
        categories = {commit.stream_id.partition("-")[0] for commit in commits}
        return any(definition.category in categories for definition in self._definitions)

    @asynccontextmanager
    async def _within(self, tx: Transaction | None, commits: Sequence[Commit]) -> AsyncGenerator[Transaction]:
        """Begin a transaction, or a savepoint in the caller's: events can't be committed without their rows."""
        if tx is None:
            async with (
                self._stream_locks.held(commit.stream_id for commit in commits),
                self._store.transaction() as own,
            ):
                yield own
        elif isinstance(tx, PostgreSQLTransaction) and tx.is_open:
            async with tx.savepoint():
                yield tx
        else:
            yield tx  # refused by the store, with the reason

    async def _fold(self, tx: Transaction, commits: Sequence[Commit], results: Sequence[AppendResult]) -> None:
        assert isinstance(tx, PostgreSQLTransaction)  # noqa: S101 - the store has appended in it
        for definition, rows in self._rows:
            prefix = f"{definition.category}-"
            versions = {one.stream_id: one.stream_version for one in results if one.stream_id.startswith(prefix)}
            if not versions:
                continue
            new = sum([len(commit.events) for commit in commits if commit.stream_id in versions])
            try:
                with translated_errors():
                    await rows.catch_up(tx.connection, versions, new)
            except EventFailedError as error:
                stored, reason, _ = error.failure
                raise InlineProjectionError(
                    definition.name, stored.stream_id, stored.stream_version, stored.event_type, reason
                ) from reason
            except DatabaseError as error:
                if error.sqlstate[:2] not in REFUSALS:
                    raise
                last = commits[-1]
                raise InlineProjectionError(
                    definition.name, last.stream_id, versions.get(last.stream_id, 0), last.events[-1].event_type, error
                ) from error

    def check_transaction(self, tx: object) -> None:
        """Raise TransactionError unless `tx` is a transaction of the inner store."""
        self._store.check_transaction(tx)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosedError

    def on_follow(self) -> None:
        """Listen to other processes from now on, as the inner store does."""
        self._store.on_follow()

    @overload
    def transaction(
        self, connection: Connection | None = None, *, commit: Literal["store"] = "store"
    ) -> PostgreSQLTransaction: ...

    @overload
    def transaction(self, connection: Connection, *, commit: Literal["caller"]) -> JoinedTransaction: ...

    def transaction(
        self, connection: Any = None, *, commit: Literal["store", "caller"] = "store"
    ) -> PostgreSQLTransaction:
        """Return a transaction in which appends and their rows take part. See `PostgreSQLEventStore.transaction`."""
        return self._store.transaction(connection, commit=commit)

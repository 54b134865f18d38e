"""`InlineProjections`: a store whose appends keep rows in their own transaction, so that nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar, overload
from weakref import WeakValueDictionary

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
from perdure.transaction import Transaction

R = TypeVar("R")


class InlineProjections(EventStore):
    """A store, with projections that its appends keep: the rows are there as soon as the events are, or neither.

    Only projections whose key is the stream (`by_stream`) can be kept so. Appends to streams of their categories leave
    the group and take a transaction each, which is several times slower; all others are those of the store itself.

    It also follows the log, for streams that were appended to without it: before it was there, or by programs that use
    the store alone. Opening it returns once the rows show everything. Status, pauses and skips are those of other
    projections; a pause holds up that search only.

    Args:
        store: the store; opened and closed with this one, unless it is open already.
        projections: what to keep.
        schema: the schema for tables and views; made if it isn't there.
        catch_up_timeout: how many seconds opening waits at most for the rows to show what is in the log.

    Raises:
        ProjectionDefinitionError: a projection can't be kept inline; says why.
        ReadOnlyStoreError: the store was opened to be read only.

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
        self._turns = Turns()
        self._stack = AsyncExitStack()
        self._is_open = False

    @property
    def database(self) -> Database:
        """The database of the store inside."""
        return self._store.database

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the store inside offers."""
        return self._store.capabilities

    @property
    def is_listening(self) -> bool | None:
        """Whether appends of other processes wake followers in this one; None while nothing listens for them."""
        return self._store.is_listening

    def check_usable(self) -> None:
        """Raise unless the store inside can be used."""
        self._store.check_usable()

    def check_alive(self) -> None:
        """Raise unless this store is open and the one inside works."""
        self._store.check_alive()
        self._check_open()

    async def check_writable(self) -> None:
        """Raise unless the database can be reached, and takes appends."""
        await self._store.check_writable()

    async def check_schema(self) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the schema is as this version of Perdure needs it."""
        await self._store.check_schema()

    def wake(self) -> None:
        """Let all followers of the log read at once, here and in other processes, as after an append."""
        self._store.wake()

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._is_open and self._store.is_open

    async def open(self) -> None:
        """Make the tables that are missing, and wait until the rows show everything that is in the log.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: the tables aren't those of the projections, or their build
                is kept by a service.
            ProjectionPausedError: an event of the log can't be folded; mend the cause, and resume or skip it.
            ProjectionTimeoutError: it took too long.
            ConfigurationError, StoreUnavailableError, and the others of the store itself.
        """
        async with AsyncExitStack() as stack:
            if not self._store.is_open:
                await stack.enter_async_context(self._store)
            builds = BuildSupervisor(self._store, self._projections, self._options, InlineDefinition)
            stack.push_async_callback(builds.stop, 10.0)
            await builds.start()
            for last in await self._store.read_all_events_backwards(max_count=1):
                for projection in self._projections:
                    await builds.wait_for(projection.name, last.global_position, self._timeout)
            self._stack = stack.pop_all()
        self._is_open = True

    async def close(self) -> None:
        """Stop following the log, and close the store if it was opened here."""
        self._is_open = False
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit, and its rows. Raises as `append_to_stream` does, and InlineProjectionError."""
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
        """Write a group of commits, and their rows, all or nothing. Raises as `append` does."""
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
        """A transaction, or a part of the caller's, so that events without rows can't be committed by mistake."""
        if tx is None:
            async with self._turns.at(commit.stream_id for commit in commits), self._store.transaction() as own:
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

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosedError

    def on_follow(self) -> None:
        """Listen to other processes from now on, as the store inside does."""
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
        """A transaction in which appends take part, and their rows. See `PostgreSQLEventStore.transaction`."""
        return self._store.transaction(connection, commit=commit)


class Turns:
    """Lets one caller at a time through to each stream. The others wait here, where they take no connection."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def at(self, stream_ids: Iterable[str]) -> AsyncGenerator[None]:
        """One's turn at all of these streams. In the order of their ids, so that nobody waits for each other."""
        locks = [self._locks.setdefault(stream_id, asyncio.Lock()) for stream_id in sorted(set(stream_ids))]
        async with AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
            yield

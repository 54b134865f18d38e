"""`Repository`: loads aggregates from a store and saves them to it, with retries after conflicts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot, adopt, decide_again
from perdure.checks import check_count, check_flag, check_instance
from perdure.commit import AppendResult, ExpectedVersion, check_expected_version
from perdure.errors import (
    AggregateBusyError,
    AggregateNotFoundError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    StaleVersionError,
)
from perdure.errors.formats import shown
from perdure.events import StoredEvent
from perdure.observation import Execute
from perdure.repository.aggregate_cache import AggregateCache
from perdure.repository.cached_loader import CachedLoader
from perdure.repository.command import CommandCall, IdentifiedCommand, check_action
from perdure.repository.command_id import identified
from perdure.repository.decision import check_not_deciding
from perdure.repository.exclusive_command import ExclusiveCommand
from perdure.repository.loader import Loader
from perdure.repository.queue_registry import CommandQueues, Load
from perdure.repository.saver import Pause, Saver
from perdure.repository.snapshotter import SnapshotWriter
from perdure.repository.state_codec import StateCodec
from perdure.retry import Attempts, RetryConfig, checked_retry
from perdure.store import EventStore
from perdure.transaction import Transaction

A = TypeVar("A", bound=AggregateRoot)


class Repository(Generic[A]):
    """Loads and saves the aggregates of one class.

    Args:
        aggregate_class: the class of the aggregates.
        store: where their events are.
        retry: how `save_with_retry` and `execute` try again, unless the call says otherwise.
        snapshot_every: after how many events a snapshot of an aggregate is written, so that loading replays about as
            many at most; None for no snapshots. They pay from about a thousand events on.
        queue_commands: whether `execute` queues the commands of this process on one aggregate. From the second caller
            on, they are decided one after the other on one state in memory, and share commits, instead of meeting in
            conflicts. All repositories of the class and the store share the queues.
        cache_size: how many states, those used last, are kept in memory. A load of such an aggregate reads only the
            events after its state, in one round trip, and is as fresh as any other. None for no cache. It pays from
            about a hundred events on.

    Raises:
        InvalidArgumentError: an argument can't be used, or, with snapshots, a field's type can't be stored.
        AggregateDefinitionError: with snapshots, ``__init__`` sets an attribute that isn't a field.

    Example:
        users = Repository(User, store)
        await users.execute("123", lambda user: user.subscribe_to_plan("premium", "credit_card"))
        user = await users.get("123")
    """

    def __init__(
        self,
        aggregate_class: type[A],
        store: EventStore,
        *,
        retry: RetryConfig | None = None,
        snapshot_every: int | None = None,
        queue_commands: bool = True,
        cache_size: int | None = None,
    ) -> None:
        if not isinstance(aggregate_class, type) or not issubclass(aggregate_class, AggregateRoot):
            raise InvalidArgumentError(
                "aggregate_class", f"must be a class of aggregates, not {shown(aggregate_class)}"
            )
        check_instance("store", store, EventStore)
        self.aggregate_class = aggregate_class
        self.store = store
        self.retry = checked_retry(retry)
        if snapshot_every is not None:
            check_count("snapshot_every", snapshot_every, 1)
        check_flag("queue_commands", queue_commands)
        if cache_size is not None:
            check_count("cache_size", cache_size, 1)
        codec = None if snapshot_every is None else StateCodec(aggregate_class)
        cache: AggregateCache[A] | None = None if cache_size is None else AggregateCache(cache_size)
        replaying = Loader(aggregate_class, store, codec)
        self._loader = replaying if cache is None else CachedLoader(aggregate_class, store, codec, cache)
        snapshots = snapshot_every and codec and SnapshotWriter(snapshot_every, replaying, codec, store, cache)
        self._snapshots: SnapshotWriter[A] | None = snapshots or None
        self._saver = Saver(store, self._snapshots)
        self._queues: CommandQueues[A] | None = (
            CommandQueues(aggregate_class, store, self._loader, self._snapshots) if queue_commands else None
        )

    @property
    def conflicts_retried(self) -> int:
        """How many conflicts were answered by deciding again."""
        return self._saver.conflicts_retried + (self._queues.conflicts_retried if self._queues else 0)

    async def load(
        self,
        aggregate_id: str | UUID,
        *,
        at_version: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> A | None:
        """Load an aggregate by applying its events. Return None if there is no such stream.

        Args:
            aggregate_id: text or a UUID, without the category.
            at_version: load the state after that many events; the present state if there are fewer.
            at_time: load the state at that time, a datetime with a time zone. What counts is when the store recorded
                the events, so the aggregate really had that state. For the times in the events, see `history`.
            tx: load in the caller's transaction: with its own appends, and on its connection. Save the aggregate in it,
                too. After a rollback, saving an aggregate that was loaded from its appends is a conflict.

        Raises:
            UnknownEventTypeError: the stream holds an event type that has no class here.
            EventDecodingError: an event's data doesn't fit its class.
            TransactionError: `tx` isn't open, or is of another store.
        """
        aggregate = await self._load(aggregate_id, at_version, at_time, tx)
        return aggregate if aggregate.stream_version else None

    async def load_or_new(self, aggregate_id: str | UUID, *, tx: Transaction | None = None) -> A:
        """Load an aggregate as `load` does. Return a new one if there is no such stream.

        A new one knows that its stream was missing. So `save_with_retry` decides again if another writer creates it.
        """
        return await self._load(aggregate_id, tx=tx)

    async def get(self, aggregate_id: str | UUID, *, tx: Transaction | None = None) -> A:
        """Load an aggregate as `load` does. Raise AggregateNotFoundError if there is no such stream."""
        aggregate = await self._load(aggregate_id, tx=tx)
        if not aggregate.stream_version:
            raise AggregateNotFoundError(aggregate.stream_id)
        return aggregate

    def history(
        self, aggregate_id: str | UUID, *, tx: Transaction | None = None
    ) -> AsyncGenerator[tuple[StoredEvent, A]]:
        """Yield each event, oldest first, with the aggregate as it was after it: a separate instance for each event.

        Example:
            async for stored, user in users.history("123"):
                print(stored.timestamp, stored.event_type, user.plan)
        """
        return self._loader.history(aggregate_id, tx)

    async def save(self, aggregate: A, *, tx: Transaction | None = None) -> AppendResult | None:
        """Append the uncommitted events, all or none. Return None if there were none.

        If it isn't known whether they were written (OutcomeUnknownError, or the task was cancelled), the aggregate
        keeps its events with their ids. Saving it again is safe then: they are written once.

        Args:
            aggregate: of this repository's class.
            tx: the caller's transaction; the events count as committed once that is. No snapshot is taken then.

        Raises:
            OptimisticConcurrencyError: another writer appended first. See `save_with_retry`.
            OutcomeUnknownError: save it again.
            InvalidArgumentError: it is of another class.
            EventEncodingError, PayloadTooLargeError: nothing was written.
            StoreOverloadedError, StoreUnavailableError, StoreClosedError: nothing was written.
        """
        self._check_class(aggregate)
        if tx is None:
            check_not_deciding("save")
        return await self._saver.save(aggregate, tx)

    async def save_with_retry(self, aggregate: A, *, retry: RetryConfig | None = None) -> AppendResult | None:
        """Save; on a conflict pause, load the aggregate again, and decide its recorded commands again.

        Afterwards the aggregate is as it was saved. If an error is raised, it is as it was before. If the outcome isn't
        known (OutcomeUnknownError, or the task was cancelled), it has the events that may be written, so that saving it
        again is safe. Until then it can't be changed. Events that no command raised can't be decided again: then the
        conflict is raised.

        Raises:
            OptimisticConcurrencyError: the last attempt ended in a conflict, too.
            DomainError: a rule forbids a command on the fresh state.
            OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats: save it again.
            AggregateBusyError: another task does the same to this aggregate.
        """
        self._check_class(aggregate)
        check_not_deciding("save_with_retry")
        attempts = Attempts(checked_retry(retry, self.retry))
        current = aggregate

        async def decide() -> A:
            nonlocal current
            fresh = await self._load(aggregate.aggregate_id)
            decide_again(aggregate.uncommitted.commands, fresh)
            current = fresh
            return fresh

        with _held(aggregate):
            again = decide if aggregate.uncommitted.decided_by_commands else None
            try:
                with Execute(aggregate.stream_id) as observed:
                    result = await self._saver.save_or_decide(aggregate, again, attempts, observed)
            finally:
                # Saved; or pending: then saving again must repeat these events with their ids.
                if current is not aggregate and (not current.uncommitted.events or current.uncommitted.pending):
                    adopt(aggregate, current)
        return result

    async def execute(
        self,
        aggregate_id: str | UUID,
        action: Callable[[A], object],
        *,
        command_id: UUID | str | None = None,
        fingerprint: bytes | str | None = None,
        expected_version: ExpectedVersion | None = None,
        retry: RetryConfig | None = None,
        exclusive: bool = False,
    ) -> AppendResult | None:
        """Load or create the aggregate, call `action` with it, and save it; on a conflict pause and start over.

        Args:
            aggregate_id: as for `load`.
            action: a synchronous function that calls commands or raises events. It may be called several times.
            command_id: identifies the request. A repeat, at any time and from any process, gets the first result, and
                `action` isn't called again. It is a UUID (best of version 7) or text, such as
                ``f"{client_id}/POST /orders/{order_id}/send/{key}"`` with a client's ``Idempotency-Key``, and is valid
                for this aggregate only. The events record it, so an action that
                raised none is called again. It is their causation id, unless the context has one.
            fingerprint: tells the command from others, such as the body of the request. A repeat with the same
                `command_id` must have the same. Only its hash is stored, in the header ``command-fingerprint`` of the
                first event. If either of both has none, nothing is compared.
            expected_version: the version that the caller has seen, as for HTTP's ``If-Match``. It is compared before
                `action` is called, unless a repeat gets the first result. A conflict with it is raised at once. None:
                nothing is compared.
            retry: how to try again; by default as the repository does.
            exclusive: keep every other writer of the stream waiting, in all processes, from before the load until the
                commit. So there are no conflicts, and `action` is called once: again only if the answer to the commit
                was lost and nothing was written. For an action that is too dear to repeat. It takes a connection of
                the pool meanwhile, and is slower than a command that shares commits with others.

        Returns:
            The version and the positions of the events, or None if `action` raised none, because there was nothing to
            change. A repeat of a command that raised events gets their result.

        Raises:
            OptimisticConcurrencyError: the last attempt ended in a conflict, too.
            StaleVersionError: the aggregate hasn't the `expected_version`. Nothing was written.
            CommandIdReuseError: `command_id` was used with another `fingerprint`. Nothing was written.
            OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats.
            AggregateBusyError: others had their turn for as long as `retry` allows. Nothing was written.
            UnsupportedOperationError: it is `exclusive`, and the store has no transactions. Nothing was written.
            InvalidArgumentError: `action` is asynchronous, or another argument can't be used.
            Whatever `action` raises; then nothing was written.
        """
        check_action(action)
        check_flag("exclusive", exclusive)
        check_not_deciding("execute")
        attempts = Attempts(checked_retry(retry, self.retry))
        new = self.aggregate_class(aggregate_id)
        stream_id = new.stream_id
        if expected_version is not None:
            check_expected_version(expected_version)
        command = CommandCall(action, identified(command_id, stream_id, fingerprint), expected_version)
        try:
            return await self._execute(new, command, attempts, exclusive=exclusive)
        except OptimisticConcurrencyError as error:
            if expected_version is None or error.attempts is not None:
                raise
            raise StaleVersionError(stream_id, expected_version, error.actual_version) from error

    async def _execute(
        self, new: A, command: CommandCall[A], attempts: Attempts, *, exclusive: bool
    ) -> AppendResult | None:
        with Execute(new.stream_id, exclusive=exclusive) as observed:
            if exclusive:
                alone = ExclusiveCommand(command, new, self._loader, self._saver, attempts)
                return await alone.execute(observed)
            directly = partial(self._execute_directly, command, attempts, observed)
            if self._queues is None:
                return await directly(partial(self._loader.load, new.aggregate_id))
            try:
                return await self._queues.execute(new.stream_id, command, attempts, directly)
            finally:
                observed.attempts = attempts.count

    async def _load(
        self,
        aggregate_id: str | UUID,
        at_version: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> A:
        """Load an aggregate for a user, who may save it together with others: snapshots are taken then, too."""
        aggregate = await self._loader.load(aggregate_id, at_version, at_time, tx)
        aggregate.uncommitted.snapshots = self._snapshots
        return aggregate

    async def _execute_directly(
        self,
        command: CommandCall[A],
        attempts: Attempts,
        observed: Execute,
        load: Load[A],
        pause: Pause | None = None,
    ) -> AppendResult | None:
        decides_again = command.exact_version is None
        if command.command_id is not None:
            once = IdentifiedCommand(command, command.command_id, load, self.store)
            again = once.decide if decides_again else None
            saving = self._saver.save_or_decide(await once.decide(), again, attempts, observed, pause)
            return await once.result(saving)

        async def decide() -> A:
            aggregate = await load()
            command.act(aggregate)
            return aggregate

        return await self._saver.save_or_decide(
            await decide(), decide if decides_again else None, attempts, observed, pause
        )

    def _check_class(self, aggregate: object) -> None:
        if type(aggregate) is not self.aggregate_class:
            raise InvalidArgumentError(
                "aggregate", f"is a {type(aggregate).__name__}; this repository is for {self.aggregate_class.__name__}"
            )


@contextmanager
def _held(aggregate: AggregateRoot) -> Generator[None]:
    work = aggregate.uncommitted
    if work.held:
        raise AggregateBusyError(aggregate.stream_id)
    work.held = True
    try:
        yield
    finally:
        work.held = False

"""`DeciderRepository`: the states of a decider, loaded and changed by commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from perdure.checks import check_instance
from perdure.commit import AppendResult, ExpectedVersion
from perdure.decider import Decided, Decider
from perdure.events import StoredEvent
from perdure.repository.fingerprint import FingerprintSource, encoded_command
from perdure.repository.repository import Repository
from perdure.retry import RetryConfig
from perdure.store import EventStore
from perdure.transaction import Transaction

C = TypeVar("C")
S = TypeVar("S")


class DeciderRepository(Generic[C, S]):
    """Loads the states of a decider, and executes its commands. Everything works as in `Repository`.

    Args:
        decider: the rules.
        store: where the events are.
        retry: how `execute` tries again, unless the call says otherwise.
        snapshot_every: after how many events a snapshot of a state is written; None for no snapshots. The type of the
            state is the annotated return type of `evolve`.
        queue_commands: whether the commands of this process on one state are queued. See `Repository`.
        cache_size: how many states are kept in memory; None for no cache. See `Repository`.

    Raises:
        InvalidArgumentError: an argument can't be used, or, with snapshots, the state's type can't be stored.

    Example:
        carts = DeciderRepository(cart, store)
        await carts.execute("123", AddItem(sku="heat-dvd"))
        state = await carts.load("123")
    """

    def __init__(
        self,
        decider: Decider[C, Any, S],
        store: EventStore,
        *,
        retry: RetryConfig | None = None,
        snapshot_every: int | None = None,
        queue_commands: bool = True,
        cache_size: int | None = None,
    ) -> None:
        check_instance("decider", decider, Decider)
        self._aggregates: Repository[Decided[C, S]] = Repository(
            decider.aggregate_class,
            store,
            retry=retry,
            snapshot_every=snapshot_every,
            queue_commands=queue_commands,
            cache_size=cache_size,
        )

    @property
    def conflicts_retried(self) -> int:
        """How many conflicts were answered by deciding again."""
        return self._aggregates.conflicts_retried

    async def load(
        self,
        aggregate_id: str | UUID,
        *,
        at_version: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> S | None:
        """Load a state by applying its events. Return None if there is no such stream. See `Repository.load`."""
        aggregate = await self._aggregates.load(aggregate_id, at_version=at_version, at_time=at_time, tx=tx)
        return None if aggregate is None else aggregate.state

    async def get(self, aggregate_id: str | UUID, *, tx: Transaction | None = None) -> S:
        """Load a state as `load` does. Raise AggregateNotFoundError if there is no such stream."""
        return (await self._aggregates.get(aggregate_id, tx=tx)).state

    async def load_aggregate(self, aggregate_id: str | UUID, *, tx: Transaction | None = None) -> Decided[C, S]:
        """Load a state in the form of an aggregate, for `execute_all` and `save_all`; a new one if there is no stream.

        Its ``state`` is the state. Its ``decide(command)`` raises the events that the command leads to.

        Example:
            async def check_out() -> list[AggregateRoot]:
                cart, stock = await carts.load_aggregate("123"), await stocks.load_aggregate("heat-dvd")
                cart.decide(Pay())
                stock.decide(Reserve(quantity=1))
                return [cart, stock]

            await execute_all(store, check_out)
        """
        return await self._aggregates.load_or_new(aggregate_id, tx=tx)

    async def history(
        self, aggregate_id: str | UUID, *, tx: Transaction | None = None
    ) -> AsyncGenerator[tuple[StoredEvent, S]]:
        """Yield each event, oldest first, with the state after it. See `Repository.history`."""
        async with aclosing(self._aggregates.history(aggregate_id, tx=tx)) as history:
            async for stored, aggregate in history:
                yield stored, aggregate.state

    async def execute(
        self,
        aggregate_id: str | UUID,
        command: C,
        *,
        command_id: UUID | str | None = None,
        fingerprint: bytes | str | FingerprintSource | None = FingerprintSource.COMMAND,
        expected_version: ExpectedVersion | None = None,
        retry: RetryConfig | None = None,
        exclusive: bool = False,
    ) -> AppendResult | None:
        """Load the state, decide the command, and save the events; on a conflict pause and start over.

        Args:
            aggregate_id: text or a UUID, without the category.
            command: what `decide` takes.
            command_id: identifies the request, so that a repeat gets the first result. See `Repository.execute`.
            fingerprint: as for `Repository.execute`, but by default it follows from the command: from the name of its
                class, and from its fields as JSON. None: nothing is compared. A command that holds something that a
                repeat hasn't, such as the time of the call, needs a fingerprint of your own, or None.
            expected_version: the version that the caller has seen. See `Repository.execute`.
            retry: how to try again; by default as the repository does.
            exclusive: keep every other writer of the stream waiting. See `Repository.execute`.

        Returns:
            The version and the positions of the events, or None if `decide` returned none.

        Raises:
            InvalidArgumentError: an argument can't be used; or the command can't be encoded for its fingerprint.
            What `Repository.execute` raises, and whatever `decide` does.
        """
        if isinstance(fingerprint, FingerprintSource):
            fingerprint = None if command_id is None else encoded_command(command)
        return await self._aggregates.execute(
            aggregate_id,
            lambda aggregate: aggregate.decide(command),
            command_id=command_id,
            fingerprint=fingerprint,
            expected_version=expected_version,
            retry=retry,
            exclusive=exclusive,
        )

"""Saves several aggregates at once, of any classes: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, check_instance
from perdure.commit import AppendResult, ExpectedVersion
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.observation import Execute
from perdure.repository.saver import save_together, save_until_known, saved_with
from perdure.retry import Attempts, RetryConfig, checked_retry
from perdure.store import EventStore
from perdure.transaction import Transaction


async def save_all(
    store: EventStore,
    aggregates: Sequence[AggregateRoot],
    *,
    conditions: Mapping[str, ExpectedVersion] | None = None,
    tx: Transaction | None = None,
) -> list[AppendResult | None]:
    """Append the uncommitted events of several aggregates: all of them, or none.

    An aggregate without uncommitted events is a condition: it must not have changed meanwhile, because the others were
    decided by its state. The log has the events in the order of the aggregates.

    If it isn't known whether they were written, the aggregates keep their events with their ids: save them again, all
    together. No snapshots are written. The next save of an aggregate by its repository writes one that is due.

    Args:
        store: where the events go.
        aggregates: of any classes.
        conditions: the versions that other streams must have, which aren't written.
        tx: the caller's transaction; the events count as committed once it is.

    Returns:
        For each aggregate the version and the positions of its events, or None if it had none. If no aggregate had any,
        nothing is checked.

    Raises:
        OptimisticConcurrencyError: a stream has another version; it names the first. See `execute_all`.
        OutcomeUnknownError: save them again.
        InvalidArgumentError: two are of the same stream; or one was saved with others, and that outcome is unknown.
        EventEncodingError, PayloadTooLargeError: nothing was written.
        StoreOverloadedError, StoreUnavailableError, StoreClosedError: nothing was written.

    Example:
        ann.withdraw(30)
        bob.deposit(30)
        await save_all(store, [ann, bob])
    """
    check_instance("store", store, EventStore)
    further: Mapping[str, ExpectedVersion] = {} if conditions is None else conditions
    _check(aggregates, further)
    return await save_together(store, aggregates, further, tx)


async def execute_all(
    store: EventStore, decide: Callable[[], Awaitable[Sequence[AggregateRoot]]], *, retry: RetryConfig | None = None
) -> list[AppendResult | None]:
    """Call `decide`, which loads aggregates, decides and returns them; save all, or none; on a conflict start over.

    Args:
        store: where the events go.
        decide: an asynchronous function. It may be called several times, so it must load again each time. It should
            also return the aggregates that it only read: as with `save_all`, they must not have changed meanwhile.
        retry: how to try again.

    Returns:
        As `save_all` does.

    Raises:
        OptimisticConcurrencyError: the last attempt ended in a conflict, too.
        OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats.
        Whatever `decide` raises; then nothing was written.

    Example:
        async def transfer() -> list[Account]:
            ann, bob = await accounts.get("ann"), await accounts.get("bob")
            ann.withdraw(30)
            bob.deposit(30)
            return [ann, bob]

        await execute_all(store, transfer)
    """
    check_instance("store", store, EventStore)
    check_function("decide", decide)
    attempts = Attempts(checked_retry(retry))
    current: Sequence[AggregateRoot] = ()

    async def save() -> list[AppendResult | None]:
        return await save_all(store, current)

    async def decide_again() -> None:
        nonlocal current
        current = await _decided(decide)

    with Execute(None) as observed:
        await decide_again()
        return await save_until_known(save, decide_again, attempts, observed)


async def _decided(decide: Callable[[], Awaitable[Sequence[AggregateRoot]]]) -> Sequence[AggregateRoot]:
    answer = decide()
    if not isinstance(answer, Awaitable):
        raise InvalidArgumentError("decide", f"must be an asynchronous function, but it returned {shown(answer)}")
    return await answer


def _check(aggregates: Sequence[AggregateRoot], conditions: Mapping[str, ExpectedVersion]) -> None:
    if not isinstance(aggregates, Sequence):
        raise InvalidArgumentError("aggregates", f"must be a list of aggregates, not {type(aggregates).__name__}")
    for one in aggregates:
        if not isinstance(one, AggregateRoot):
            raise InvalidArgumentError("aggregates", f"holds {type(one).__name__}, which isn't an aggregate")
    streams = {one.stream_id for one in aggregates}
    if len(streams) < len(aggregates):
        raise InvalidArgumentError("aggregates", "holds a stream twice: change one instance of it")
    if not isinstance(conditions, Mapping):
        raise InvalidArgumentError(
            "conditions", f"must be a dict of expected versions, not {type(conditions).__name__}"
        )
    if twice := streams & conditions.keys():
        raise InvalidArgumentError("conditions", f"names {min(twice)!r}, which is among the aggregates already")
    for one in aggregates:
        if not one.uncommitted.pending_with <= streams | conditions.keys():
            raise InvalidArgumentError("aggregates", saved_with(one))

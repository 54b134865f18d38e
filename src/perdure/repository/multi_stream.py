"""Saves several aggregates at once, of any classes: all of them, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.aggregate import AggregateRoot
from perdure.checks import check_instance
from perdure.commit import AppendResult, ExpectedVersion
from perdure.errors import InvalidArgumentError
from perdure.repository.decision import check_not_deciding
from perdure.repository.saver import save_together, saved_with
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
    together. A repository that loaded one of them takes a snapshot of it if that is due.

    Args:
        store: where the events go.
        aggregates: of any classes.
        conditions: the versions that other streams must have, which aren't written.
        tx: the caller's transaction; the events count as committed once it is. No snapshots are taken then.

    Returns:
        For each aggregate the version and the positions of its events, or None if it had none. If no aggregate had any,
        nothing is checked.

    Raises:
        OptimisticConcurrencyError: a stream has another version; it names the first. See `execute_all`.
        AggregateExistsError: one was made, not loaded, although its stream exists. Nothing was written.
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
    if tx is None:
        check_not_deciding("save_all")
    further: Mapping[str, ExpectedVersion] = {} if conditions is None else conditions
    check_aggregates(aggregates)
    _check_conditions(aggregates, further)
    results = await save_together(store, aggregates, further, tx)
    if tx is None:
        for one, result in zip(aggregates, results, strict=True):
            if result is not None and one.uncommitted.snapshots is not None:
                await one.uncommitted.snapshots.write_if_due(one)
    return results


def check_aggregates(aggregates: Sequence[AggregateRoot]) -> None:
    """Raise InvalidArgumentError unless they are aggregates of different streams."""
    if not isinstance(aggregates, Sequence):
        raise InvalidArgumentError("aggregates", f"must be a list of aggregates, not {type(aggregates).__name__}")
    for one in aggregates:
        if not isinstance(one, AggregateRoot):
            raise InvalidArgumentError("aggregates", f"holds {type(one).__name__}, which isn't an aggregate")
    if len({one.stream_id for one in aggregates}) < len(aggregates):
        raise InvalidArgumentError("aggregates", "holds a stream twice: change one instance of it")


def _check_conditions(aggregates: Sequence[AggregateRoot], conditions: Mapping[str, ExpectedVersion]) -> None:
    streams = {one.stream_id for one in aggregates}
    if not isinstance(conditions, Mapping):
        raise InvalidArgumentError(
            "conditions", f"must be a dict of expected versions, not {type(conditions).__name__}"
        )
    if twice := streams & conditions.keys():
        raise InvalidArgumentError("conditions", f"names {min(twice)!r}, which is among the aggregates already")
    for one in aggregates:
        if not one.uncommitted.pending_with <= streams | conditions.keys():
            raise InvalidArgumentError("aggregates", saved_with(one))

"""Several aggregates, also of different classes, saved at once: all of them, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, check_instance
from perdure.commit import AppendResult, ExpectedVersion, StreamAppend
from perdure.errors import InvalidArgumentError, OptimisticConcurrencyError, OutcomeUnknownError, PerdureError
from perdure.errors.formats import shown
from perdure.observation import Execute
from perdure.repository.saver import saved_with_retry, sent_together, settle_with
from perdure.retry import RetryConfig, checked_retry
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

    An aggregate without uncommitted events is a condition: somebody else must not have changed it meanwhile, for the
    others were decided by its state. The events stand in the log in the order of the aggregates.

    Whenever it isn't known whether they were written, the aggregates keep their events with their ids: save them again,
    all together. No snapshots are taken; the next save of one aggregate by its repository takes those that are due.

    Args:
        store: where the events go.
        aggregates: of any classes.
        conditions: the version that further streams must have, which aren't written.
        tx: the caller's transaction; the events count as committed once that is.

    Returns:
        For each aggregate where its events stand, or None when it had none. When none had any, nothing is checked.

    Raises:
        OptimisticConcurrencyError: a stream has another version; it names the first. See `execute_all`.
        OutcomeUnknownError: save them again.
        InvalidArgumentError: two are of the same stream, or one was saved with others and that is in doubt still.
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
    earlier: list[_Part] = []
    for parts in _in_doubt(aggregates):
        earlier += await _append(store, parts, further, tx)
    # What an earlier call has left in doubt is settled first, for only as it was sent do its ids bring its result back.
    done = {part.aggregate.stream_id: part.end for part in earlier}
    parts = [_Part(one, done.get(one.stream_id)) for one in aggregates]
    if any(part.start < part.end for part in parts):
        await _append(store, parts, further, tx)
    return [_result(one, [*earlier, *parts]) for one in aggregates]


async def execute_all(
    store: EventStore, decide: Callable[[], Awaitable[Sequence[AggregateRoot]]], *, retry: RetryConfig | None = None
) -> list[AppendResult | None]:
    """Call `decide`, which loads aggregates, decides and returns them; save all, or none; on a conflict start over.

    Args:
        store: where the events go.
        decide: an asynchronous function. It may be called several times, so it must load anew each time. What it has
            only looked at it should return, too: as with `save_all`, that must not have changed meanwhile.
        retry: how to try again.

    Returns:
        As `save_all` does.

    Raises:
        OptimisticConcurrencyError: the last attempt met a conflict, too.
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
    retry = checked_retry(retry)
    current: Sequence[AggregateRoot] = ()

    async def save() -> list[AppendResult | None]:
        return await save_all(store, current)

    async def decide_again() -> None:
        nonlocal current
        current = await _decided(decide)

    with Execute(None) as observed:
        await decide_again()
        return await saved_with_retry(save, decide_again, retry, observed)


async def _decided(decide: Callable[[], Awaitable[Sequence[AggregateRoot]]]) -> Sequence[AggregateRoot]:
    answer = decide()
    if not isinstance(answer, Awaitable):
        raise InvalidArgumentError("decide", f"must be an asynchronous function, but it returned {shown(answer)}")
    return await answer


class _Part:
    """What of an aggregate goes into one append: its events from one version to another; none for a condition."""

    def __init__(self, aggregate: AggregateRoot, start: int | None = None, end: int | None = None) -> None:
        self.aggregate = aggregate
        self.start = aggregate.committed_version if start is None else start
        self.end = aggregate.stream_version if end is None else end
        self.is_first = self.start == aggregate.committed_version
        self.result: AppendResult | None = None

    def events(self) -> list[object]:
        known = self.aggregate.committed_version
        return [*self.aggregate.uncommitted.events[self.start - known : self.end - known]]

    def doubt(self, streams: frozenset[str]) -> None:
        self.aggregate.uncommitted.doubt(self.end, streams)


async def _append(
    store: EventStore, parts: Sequence[_Part], conditions: Mapping[str, ExpectedVersion], tx: Transaction | None
) -> list[_Part]:
    """Append the parts at once. Returns them with their results."""
    written = [part for part in parts if part.start < part.end]
    looked_at = {part.aggregate.stream_id: part.start for part in parts if part.start == part.end}
    together = frozenset([part.aggregate.stream_id for part in parts] + list(conditions))
    streams: frozenset[str] = together if tx is None and len(together) > 1 else frozenset()
    appends = [StreamAppend(part.aggregate.stream_id, part.start, part.events()) for part in written]
    try:
        results = await store.append_to_streams(appends, conditions={**looked_at, **conditions}, tx=tx)
    except PerdureError as error:
        for part in written:
            if isinstance(error, OutcomeUnknownError):
                part.doubt(streams)
            elif isinstance(error, OptimisticConcurrencyError) and part.is_first:
                part.aggregate.uncommitted.doubt_no_longer()
        raise
    except BaseException:
        # Cancelled, or something that doesn't say whether it was written.
        for part in written:
            part.doubt(streams)
        raise
    for part, part.result in zip(written, results, strict=True):
        if tx is None:
            part.aggregate.mark_events_as_committed(part.end)
        else:
            settle_with(tx, part.aggregate, part.start, part.end)
    return written


def _check(aggregates: Sequence[AggregateRoot], conditions: Mapping[str, ExpectedVersion]) -> None:
    if not isinstance(aggregates, Sequence):
        raise InvalidArgumentError("aggregates", f"must be a list of aggregates, not {type(aggregates).__name__}")
    for one in aggregates:
        if not isinstance(one, AggregateRoot):
            raise InvalidArgumentError("aggregates", f"holds {type(one).__name__}, which is no aggregate")
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
        if not one.uncommitted.sent_with <= streams | conditions.keys():
            raise InvalidArgumentError("aggregates", sent_together(one))


def _in_doubt(aggregates: Sequence[AggregateRoot]) -> list[list[_Part]]:
    """The parts that may be written already: together those that were sent together, under the same conditions."""
    groups: dict[tuple[int, frozenset[str]], list[_Part]] = {}
    for one in aggregates:
        work = one.uncommitted
        together = work.sent_with or frozenset([one.stream_id])
        for number, (start, end) in enumerate(pairwise([one.committed_version, *work.sent])):
            groups.setdefault((number, together), []).append(_Part(one, start, end))
    looked_at = [_Part(one, end=one.committed_version) for one in aggregates if not one.uncommitted.sent]
    return [parts + looked_at for parts in groups.values()]


def _result(aggregate: AggregateRoot, parts: Sequence[_Part]) -> AppendResult | None:
    """Where the events of an aggregate stand, which may have been saved in several appends."""
    results = [part.result for part in parts if part.aggregate is aggregate and part.result is not None]
    if not results:
        return None
    positions = tuple(position for result in results for position in result.global_positions)
    return AppendResult(aggregate.stream_id, results[-1].stream_version, positions)

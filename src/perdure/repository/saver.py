"""Saves aggregates: appends what they decided once, however often the answer is lost, and decides again on conflicts.

`save_together` appends the uncommitted events of aggregates, all or none. `save` of a repository is the same for a
single aggregate: it takes the append to one stream, which shares commits with others.

An append whose answer was lost may be written or not, and the aggregate remembers it (`Uncommitted.pending`). The next
save sends it again exactly as it was, and what was raised since is appended after it: only then do its event ids bring
the first result back. What was sent to several streams is sent to all of them again.
"""

from __future__ import annotations

from asyncio import sleep
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult, ExpectedVersion, StreamAppend
from perdure.errors import (
    AggregateExistsError,
    HistoryRolledBackError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
)
from perdure.events import NewEvent
from perdure.observation import Execute
from perdure.outcome import AppendOutcome, OutcomeState
from perdure.repository.snapshotter import SnapshotWriter
from perdure.retry import Attempts
from perdure.store import EventStore
from perdure.transaction import Transaction

A = TypeVar("A", bound=AggregateRoot)
R = TypeVar("R")

Decide = Callable[[], Awaitable[A | AppendResult]]
"""Decides on fresh state. Returns the aggregate to save, or the result if everything was saved earlier."""
Pause = Callable[[float], Awaitable[None]]
"""Pauses for so many seconds, or less."""
Conditions = Mapping[str, ExpectedVersion]
"""The expected versions of streams that the append doesn't write."""

_NO_CONDITIONS: Final[Conditions] = {}
_NO_STREAMS: Final[frozenset[str]] = frozenset()


class Saver(Generic[A]):
    """Saves the aggregates of a repository.

    Attributes:
        conflicts_retried: how many conflicts were answered by deciding again.
        store: where the events go.

    Args:
        store: where the events go.
        snapshots: writes a snapshot after a save if one is due; None for no snapshots.
    """

    def __init__(self, store: EventStore, snapshots: SnapshotWriter[A] | None) -> None:
        self.conflicts_retried = 0
        self.store = store
        self._snapshots = snapshots

    async def save(self, aggregate: A, tx: Transaction | None = None) -> AppendResult | None:
        """Append the uncommitted events, all or none. Return None if there were none."""
        if aggregate.uncommitted.pending_with:
            raise InvalidArgumentError("aggregate", saved_with(aggregate))
        [result] = await save_together(self.store, [aggregate], tx=tx)
        if result is None:
            aggregate.mark_events_as_committed()  # commands that raised no events
        elif self._snapshots is not None and tx is None:
            await self._snapshots.write_if_due(aggregate)
        return result

    async def write_snapshot_if_due(self, aggregate: A) -> None:
        """Write a snapshot of an aggregate that was saved in a transaction, if one is due."""
        if self._snapshots is not None and not aggregate.uncommitted.events:
            await self._snapshots.write_if_due(aggregate)

    async def save_or_decide(
        self,
        decided: A | AppendResult,
        decide: Decide[A] | None,
        attempts: Attempts,
        observed: Execute,
        pause: Pause | None = None,
    ) -> AppendResult | None:
        """Save what was decided; on a conflict pause, and decide again."""
        current = decided

        async def save() -> AppendResult | None:
            return current if isinstance(current, AppendResult) else await self.save(current)

        async def decide_again() -> None:
            nonlocal current
            assert decide is not None  # noqa: S101 - it isn't called otherwise
            self.conflicts_retried += 1
            current = await decide()

        return await save_until_known(save, None if decide is None else decide_again, attempts, observed, pause)


async def save_until_known(
    save: Callable[[], Awaitable[R]],
    decide_again: Callable[[], Awaitable[None]] | None,
    attempts: Attempts,
    observed: Execute,
    pause: Pause | None = None,
) -> R:
    """Save until the outcome is known, with a pause before each repeat. After a conflict, decide again.

    Args:
        save: appends the same events with the same ids until `decide_again` is called.
        decide_again: decides on fresh state; None if a conflict is raised instead.
        attempts: how often to try in all, and how long to pause.
        observed: counts the attempts.
        pause: pauses after a conflict; None: nothing ends a pause early.

    Raises:
        OptimisticConcurrencyError: the last attempt ended in a conflict, or nothing can be decided again.
        OutcomeUnknownError: no attempt settled whether the events are written.
        Whatever else `save` or `decide_again` raises, unless an earlier attempt may be written. Nothing was written if
            that is a PerdureError.
    """
    outcome = AppendOutcome()
    while True:
        attempts.count += 1
        observed.attempts = attempts.count
        outcome.send()
        try:
            return await save()
        except Exception as error:
            outcome.fail(error)
            is_conflict = decide_again is not None and _can_be_decided_again(error)
            if not (is_conflict or outcome.must_repeat) or not await _pause(attempts, pause if is_conflict else None):
                final = _final(outcome.reported(error), attempts if is_conflict else None)
                if final is error:
                    raise
                raise final from error
        if is_conflict and decide_again is not None:
            outcome = AppendOutcome()  # other events, with their own ids
            await decide_again()


def _can_be_decided_again(error: Exception) -> bool:
    return isinstance(error, OptimisticConcurrencyError) and not isinstance(error, AggregateExistsError)


async def _pause(attempts: Attempts, pause: Pause | None) -> bool:
    """Pause before the next attempt. Return False if there may be none."""
    seconds = attempts.pause()
    if seconds is None:
        return False
    await (pause or sleep)(seconds)
    return attempts.seconds_left > 0  # the pause may have taken longer


def _final(error: Exception, attempts: Attempts | None) -> Exception:
    if attempts is not None and isinstance(error, OptimisticConcurrencyError):
        return error.given_up(attempts.count, attempts.seconds)
    return error


async def save_together(
    store: EventStore,
    aggregates: Sequence[AggregateRoot],
    conditions: Conditions = _NO_CONDITIONS,
    tx: Transaction | None = None,
) -> list[AppendResult | None]:
    """Append the uncommitted events of aggregates, all or none. See `save_all`, which checks the arguments."""
    if any(aggregate.uncommitted.events for aggregate in aggregates):
        for aggregate in aggregates:
            await _check_history(store, aggregate, tx)
    results: defaultdict[str, list[AppendResult]] = defaultdict(list)
    sent_until: dict[str, int] = {}
    for slices in _pending_slices(aggregates):
        for one, result in await _append(store, slices, conditions, tx):
            results[one.stream_id].append(result)
            sent_until[one.stream_id] = one.end
    slices = [
        _Slice(one, sent_until.get(one.stream_id, one.committed_version), one.stream_version) for one in aggregates
    ]
    if any(not one.is_condition for one in slices):
        for one, result in await _append(store, slices, conditions, tx):
            results[one.stream_id].append(result)
    return [_joined(results[one.stream_id]) for one in aggregates]


async def _check_history(store: EventStore, aggregate: AggregateRoot, tx: Transaction | None) -> None:
    """Raise unless the stream has the events that the aggregate was loaded from in a transaction.

    The version alone doesn't tell: if they were rolled back, other events may have their versions by now.
    """
    work = aggregate.uncommitted
    if work.unconfirmed is None:
        return
    version = aggregate.committed_version
    stored = await store.read_stream(aggregate.stream_id, version - 1, 1, tx=tx)
    if stored and stored[0].event_id == work.unconfirmed:
        if tx is None:
            work.unconfirmed = None  # committed, so it stays there
        return
    if work.pending and not stored:
        # Its transaction may be about to commit, with the events that were saved in it.
        raise OutcomeUnknownError([event.event_id for event in work.events])
    actual = await store.stream_version(aggregate.stream_id, tx=tx)
    raise HistoryRolledBackError(aggregate.stream_id, version, actual)


def saved_with(aggregate: AggregateRoot) -> str:
    """Return why an aggregate can't be saved without those that it was saved with."""
    others = ", ".join(map(repr, sorted(aggregate.uncommitted.pending_with - {aggregate.stream_id})))
    return (
        f"{aggregate.stream_id!r} was saved together with {others}, and it isn't known whether that was written: "
        "save them together again, with save_all(), or load them again"
    )


class _Slice:
    """The events of an aggregate from one version to another, as part of an append; a condition if there are none."""

    __slots__ = ("aggregate", "end", "start", "stream_id")

    def __init__(self, aggregate: AggregateRoot, start: int, end: int) -> None:
        self.aggregate = aggregate
        self.stream_id = aggregate.stream_id
        self.start = start
        self.end = end

    @property
    def is_condition(self) -> bool:
        return self.start == self.end

    @property
    def is_first(self) -> bool:
        """Whether the store knows of all that comes before."""
        return self.start == self.aggregate.committed_version

    @property
    def is_stored(self) -> bool:
        """Whether another save of the same instance, at the same moment, has appended it."""
        return self.end <= self.aggregate.committed_version

    def events(self) -> list[NewEvent]:
        known = self.aggregate.committed_version
        return self.aggregate.uncommitted.events[self.start - known : self.end - known]

    def settle(self, outcome: AppendOutcome, streams: frozenset[str]) -> None:
        """Record what is known of an append that raised an error."""
        work = self.aggregate.uncommitted
        if outcome.may_be_written:
            if not self.is_stored:
                work.add_pending(self.end, streams)
        elif outcome.state is OutcomeState.REFUSED and self.is_first:
            work.drop_pending()

    def settle_with(self, tx: Transaction) -> None:
        """Leave an append that was made in the caller's transaction pending until that has ended."""
        aggregate, end = self.aggregate, self.end
        is_new = not self.is_stored and aggregate.uncommitted.add_pending(end)

        def settle(is_written: bool) -> None:  # noqa: FBT001 - it is what the transaction calls
            if is_written:
                aggregate.mark_events_as_committed(end)
            elif is_new:
                aggregate.uncommitted.drop_pending(end)

        tx.when_settled([event.event_id for event in self.events()], settle)


def _pending_slices(aggregates: Sequence[AggregateRoot]) -> list[list[_Slice]]:
    """The appends that may be written already, oldest first: each with its streams, under its conditions."""
    appends: dict[tuple[int, frozenset[str]], list[_Slice]] = {}
    for one in aggregates:
        starts = [one.committed_version, *[append.version for append in one.uncommitted.pending]]
        for number, ((start, end), append) in enumerate(zip(pairwise(starts), one.uncommitted.pending, strict=True)):
            key = (number, append.streams or frozenset([one.stream_id]))
            appends.setdefault(key, []).append(_Slice(one, start, end))
    if not appends:
        return []
    settled = [
        _Slice(one, one.committed_version, one.committed_version) for one in aggregates if not one.uncommitted.pending
    ]
    return [slices + settled for slices in appends.values()]


async def _append(
    store: EventStore, slices: Sequence[_Slice], conditions: Conditions, tx: Transaction | None
) -> list[tuple[_Slice, AppendResult]]:
    """Append the slices at once. Return those that were written, with their results."""
    written = [one for one in slices if not one.is_condition]
    is_alone = len(slices) == 1 and not conditions
    outcome = AppendOutcome()
    outcome.send()
    try:
        results = await (
            _append_alone(store, slices[0], tx) if is_alone else _append_group(store, slices, written, conditions, tx)
        )
    except BaseException as error:
        # A cancellation, too: whatever doesn't say that nothing was written.
        outcome.fail(error)
        streams = (
            _NO_STREAMS if is_alone or tx is not None else frozenset([*conditions, *[one.stream_id for one in slices]])
        )
        for one in written:
            one.settle(outcome, streams)
        if isinstance(error, OptimisticConcurrencyError):
            _check_not_made(error, slices)
        raise
    for one in written:
        if tx is None:
            one.aggregate.mark_events_as_committed(one.end)
        else:
            one.settle_with(tx)
    return list(zip(written, results, strict=True))


def _check_not_made(conflict: OptimisticConcurrencyError, slices: Sequence[_Slice]) -> None:
    """Raise an error of its own for a conflict of an aggregate that was made, although its stream exists."""
    for one in slices:
        aggregate = one.aggregate
        is_made = not aggregate.uncommitted.loaded and aggregate.committed_version == 0
        if is_made and one.is_first and one.stream_id == conflict.stream_id:
            raise AggregateExistsError(one.stream_id, conflict.actual_version, type(aggregate).__name__) from conflict


async def _append_alone(store: EventStore, one: _Slice, tx: Transaction | None) -> list[AppendResult]:
    return [await store.append_to_stream(one.stream_id, one.start, one.events(), tx=tx)]


async def _append_group(
    store: EventStore,
    slices: Sequence[_Slice],
    written: Sequence[_Slice],
    conditions: Conditions,
    tx: Transaction | None,
) -> list[AppendResult]:
    appends = [StreamAppend(one.stream_id, one.start, one.events()) for one in written]
    unchanged = {one.stream_id: one.start for one in slices if one.is_condition}
    return await store.append_to_streams(appends, conditions={**unchanged, **conditions}, tx=tx)


def _joined(results: Sequence[AppendResult]) -> AppendResult | None:
    """One result of the appends that saved an aggregate; None if there was none."""
    if len(results) < 2:
        return results[0] if results else None
    positions = tuple([position for result in results for position in result.global_positions])
    is_repeat = any(result.is_repeat for result in results)
    return AppendResult(results[0].stream_id, results[-1].stream_version, positions, is_repeat)

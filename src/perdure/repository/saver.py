"""Appending what was decided: once, whatever happens to the answer, and again on fresh state after a conflict."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult
from perdure.errors import (
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.observation import Execute
from perdure.repository.snapshotter import SnapshotWriter
from perdure.retry import RetryConfig
from perdure.store import EventStore
from perdure.transaction import Transaction

A = TypeVar("A", bound=AggregateRoot)
R = TypeVar("R")

Decide = Callable[[], Awaitable[A | AppendResult]]
"""Decides on fresh state: gives the aggregate to save, or the result if all was saved earlier."""


class Saver(Generic[A]):
    """Saves the aggregates of a repository.

    Attributes:
        conflicts_retried: how many conflicts were answered by deciding again.

    Args:
        store: where the events go.
        snapshots: told of each save, if there are to be snapshots.
    """

    def __init__(self, store: EventStore, snapshots: SnapshotWriter[A] | None) -> None:
        self.conflicts_retried = 0
        self._store = store
        self._snapshots = snapshots

    async def save(self, aggregate: A, tx: Transaction | None = None) -> AppendResult | None:
        """Append the uncommitted events, all or none. Returns None when there were none."""
        if aggregate.uncommitted.sent_with:
            raise InvalidArgumentError("aggregate", sent_together(aggregate))
        results = [await self._append(aggregate, *span, tx) for span in _spans(aggregate)]
        if not results:
            aggregate.mark_events_as_committed()
            return None
        if self._snapshots is not None and tx is None:
            await self._snapshots.write_if_due(aggregate)
        positions = tuple(position for result in results for position in result.global_positions)
        return AppendResult(aggregate.stream_id, results[-1].stream_version, positions)

    async def save_or_decide(
        self, decided: A | AppendResult, decide: Decide[A] | None, retry: RetryConfig, observed: Execute
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

        return await saved_with_retry(save, None if decide is None else decide_again, retry, observed)

    async def _append(self, aggregate: A, start: int, end: int, tx: Transaction | None) -> AppendResult:
        work, known = aggregate.uncommitted, aggregate.committed_version
        events = work.events[start - known : end - known]
        try:
            result = await self._store.append_to_stream(aggregate.stream_id, start, events, tx=tx)
        except PerdureError as error:
            if isinstance(error, OutcomeUnknownError):
                work.doubt(end)
            elif isinstance(error, OptimisticConcurrencyError) and start == known:
                work.doubt_no_longer()
            raise
        except BaseException:
            # Cancelled, or something that doesn't say whether it was written.
            work.doubt(end)
            raise
        if tx is None:
            aggregate.mark_events_as_committed(end)
        else:
            settle_with(tx, aggregate, start, end)
        return result


async def saved_with_retry(
    save: Callable[[], Awaitable[R]],
    decide_again: Callable[[], Awaitable[None]] | None,
    retry: RetryConfig,
    observed: Execute,
) -> R:
    """Save; on a conflict pause, and decide again; where the outcome is unknown, pause and repeat."""
    attempt, in_doubt = 0, None
    while True:
        attempt += 1
        observed.attempts = attempt
        is_conflict = False
        try:
            return await save()
        except OptimisticConcurrencyError:
            if attempt == retry.max_attempts or decide_again is None:
                raise
            # The store looked the ids up first: what was in doubt is known now not to be written.
            in_doubt, is_conflict = None, True
        except OutcomeUnknownError as error:
            if attempt == retry.max_attempts:
                raise
            in_doubt = error
        except (StoreUnavailableError, StoreOverloadedError, StoreClosedError) as error:
            # This attempt wrote nothing, but the doubt about an earlier one is what the caller must know.
            if in_doubt is None:
                raise
            if attempt == retry.max_attempts:
                raise in_doubt from error
        await sleep(retry.delay(attempt))
        if is_conflict and decide_again is not None:
            await decide_again()


def settle_with(tx: Transaction, aggregate: AggregateRoot, start: int, end: int) -> None:
    """Doubt an append that was made in the caller's transaction until it is known what became of it."""
    work, known = aggregate.uncommitted, aggregate.committed_version
    is_new = work.doubt(end)

    def settle(is_written: bool) -> None:  # noqa: FBT001 - it is what the transaction calls
        if is_written:
            aggregate.mark_events_as_committed(end)
        elif is_new:
            aggregate.uncommitted.was_not_written(end)

    tx.when_settled([event.event_id for event in work.events[start - known : end - known]], settle)


def sent_together(aggregate: AggregateRoot) -> str:
    """Why an aggregate whose append to several streams is in doubt can't be saved without the others."""
    others = ", ".join(map(repr, sorted(aggregate.uncommitted.sent_with - {aggregate.stream_id})))
    return (
        f"{aggregate.stream_id!r} was saved together with {others}, and it isn't known whether that was written: "
        "save them together again, with save_all(), or load them anew"
    )


def _spans(aggregate: AggregateRoot) -> list[tuple[int, int]]:
    """The appends that save the aggregate, from version to version: usually one.

    An append that may be written already is repeated as it was sent, apart from what was raised later: only then do its
    ids bring its result back.
    """
    edges = [aggregate.committed_version, *aggregate.uncommitted.sent, aggregate.stream_version]
    return [(first, last) for first, last in pairwise(edges) if first < last]

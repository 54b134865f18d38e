"""`Repository`: aggregates loaded from a store and saved to it, with retries where somebody else was faster."""

from __future__ import annotations

import inspect
import math
import random
from asyncio import sleep
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot, adopt, decide_again
from perdure.errors import (
    AggregateBusyError,
    AggregateNotFoundError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.store import AppendResult, EventStore, Transaction

A = TypeVar("A", bound=AggregateRoot)


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """How often, and after which pauses, something is tried again.

    The pause before the second attempt is drawn between 0 and `base_delay` seconds, and the range doubles with each
    further one up to `max_delay`: those who collided don't collide again in step.

    Args:
        max_attempts: how often in all, the first attempt included.
        base_delay: the longest pause before the second attempt, in seconds.
        max_delay: the longest pause at all, in seconds.

    Raises:
        InvalidArgumentError: a value makes no sense.

    Example:
        >>> RetryConfig(max_attempts=5, base_delay=0.02)
        RetryConfig(max_attempts=5, base_delay=0.02, max_delay=5.0)
    """

    max_attempts: int = 3
    base_delay: float = 0.1
    max_delay: float = 5.0

    def __post_init__(self) -> None:
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool) or self.max_attempts < 1:
            raise InvalidArgumentError("max_attempts", f"must be a whole number from 1 on, not {self.max_attempts!r}")
        for name, delay in (("base_delay", self.base_delay), ("max_delay", self.max_delay)):
            if not isinstance(delay, int | float) or not math.isfinite(delay) or delay < 0:
                raise InvalidArgumentError(name, f"must be a number of seconds from 0 on, not {delay!r}")
        if self.max_delay < self.base_delay:
            raise InvalidArgumentError("max_delay", f"({self.max_delay}) is less than base_delay ({self.base_delay})")

    def delay(self, attempt: int) -> float:
        """Seconds to pause after that many failed attempts, drawn anew each time."""
        return random.uniform(0, min(self.max_delay, math.ldexp(self.base_delay, min(attempt, 64) - 1)))


class Repository(Generic[A]):
    """Loads and saves the aggregates of one class.

    Attributes:
        conflicts_retried: how many conflicts were answered by deciding again.

    Args:
        aggregate_class: the class of the aggregates.
        store: where their events are.
        retry: how `save_with_retry` and `execute` try again, unless told otherwise.

    Example:
        users = Repository(User, store)
        await users.execute("123", lambda user: user.subscribe_to_plan("premium", "credit_card"))
        user = await users.get("123")
    """

    def __init__(self, aggregate_class: type[A], store: EventStore, *, retry: RetryConfig | None = None) -> None:
        if not isinstance(aggregate_class, type) or not issubclass(aggregate_class, AggregateRoot):
            raise InvalidArgumentError("aggregate_class", f"must be a class of aggregates, not {aggregate_class!r}")
        self.aggregate_class = aggregate_class
        self.store = store
        self.retry = retry or RetryConfig()
        self.conflicts_retried = 0

    async def load(self, aggregate_id: str | UUID) -> A | None:
        """The aggregate as its events make it, or None when there is no such stream.

        Raises:
            UnknownEventTypeError: the stream holds a type that no class here bears.
            EventDecodingError: an event's data doesn't fit its class.
        """
        aggregate = await self._load_or_new(aggregate_id)
        return aggregate if aggregate.stream_version else None

    async def get(self, aggregate_id: str | UUID) -> A:
        """The same as `load`, but raises AggregateNotFoundError when there is no such stream."""
        aggregate = await self._load_or_new(aggregate_id)
        if not aggregate.stream_version:
            raise AggregateNotFoundError(aggregate.stream_id)
        return aggregate

    async def save(self, aggregate: A, *, tx: Transaction | None = None) -> AppendResult | None:
        """Append the uncommitted events, all or none. Returns None when there were none.

        Whenever it isn't known whether they were written (OutcomeUnknownError, or the task was cancelled), the
        aggregate keeps its events with their ids, so that saving it again is safe: they are written once.

        Args:
            aggregate: of this repository's class.
            tx: the caller's transaction; the events count as committed once that is.

        Raises:
            OptimisticConcurrencyError: somebody else appended first. See `save_with_retry`.
            OutcomeUnknownError: save it again.
            InvalidArgumentError: it is of another class.
            EventEncodingError, PayloadTooLargeError: nothing was written.
            StoreOverloadedError, StoreUnavailableError, StoreClosedError: nothing was written.
        """
        if type(aggregate) is not self.aggregate_class:
            raise InvalidArgumentError(
                "aggregate", f"is a {type(aggregate).__name__}; this repository keeps {self.aggregate_class.__name__}"
            )
        results = [await self._append(aggregate, *span, tx) for span in _spans(aggregate)]
        if not results:
            aggregate.mark_events_as_committed()
            return None
        positions = tuple(position for result in results for position in result.global_positions)
        return AppendResult(aggregate.stream_id, results[-1].stream_version, positions)

    async def save_with_retry(self, aggregate: A, *, retry: RetryConfig | None = None) -> AppendResult | None:
        """Save; on a conflict pause, load the aggregate anew, and decide its recorded commands again.

        In the end the aggregate is what was saved, or, if an error is raised, what it was before; if it isn't known
        which (OutcomeUnknownError, or the task was cancelled), it is what may be saved, so that saving again is safe.
        Until then it can't be changed. Events that no command raised can't be decided again: the conflict is raised.

        Raises:
            OptimisticConcurrencyError: the last attempt met a conflict, too.
            DomainError: a rule forbids a command on the fresh state.
            OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats: save it again.
            AggregateBusyError: another task does the same to this aggregate.
        """
        current = aggregate

        async def decide() -> A:
            nonlocal current
            fresh = await self._load_or_new(aggregate.aggregate_id)
            decide_again(aggregate.uncommitted.commands, fresh)
            current = fresh
            return fresh

        with _held(aggregate):
            again = decide if aggregate.uncommitted.decided_by_commands else None
            try:
                result = await self._save_or_decide(aggregate, again, retry or self.retry)
            finally:
                # Saved, or in doubt: then these are the events, with their ids, that saving again has to repeat.
                if current is not aggregate and (not current.uncommitted.events or current.uncommitted.sent):
                    adopt(aggregate, current)
        return result

    async def execute(
        self, aggregate_id: str | UUID, action: Callable[[A], object], *, retry: RetryConfig | None = None
    ) -> AppendResult | None:
        """Load the aggregate, or make it, call `action` with it, and save it; on a conflict pause and start over.

        Args:
            aggregate_id: as for `load`.
            action: a synchronous function that calls commands or raises events. It may be called several times.
            retry: how to try again; else as the repository does.

        Returns:
            Where the events stand, or None when `action` raised none.

        Raises:
            OptimisticConcurrencyError: the last attempt met a conflict, too.
            OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats.
            InvalidArgumentError: `action` is asynchronous.
            Whatever `action` raises; then nothing was written.
        """
        if inspect.iscoroutinefunction(action):
            raise _asynchronous()

        async def decide() -> A:
            aggregate = await self._load_or_new(aggregate_id)
            answer = action(aggregate)
            if inspect.isawaitable(answer):
                if inspect.iscoroutine(answer):
                    answer.close()
                raise _asynchronous()
            return aggregate

        return await self._save_or_decide(await decide(), decide, retry or self.retry)

    async def _save_or_decide(
        self, aggregate: A, decide: Callable[[], Awaitable[A]] | None, retry: RetryConfig
    ) -> AppendResult | None:
        attempt, in_doubt = 0, None
        while True:
            attempt += 1
            again: Callable[[], Awaitable[A]] | None = None
            try:
                return await self.save(aggregate)
            except OptimisticConcurrencyError:
                if attempt == retry.max_attempts or decide is None:
                    raise
                # The store looked the ids up first: what was in doubt is known now not to be written.
                in_doubt, again = None, decide
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
            if again is not None:
                self.conflicts_retried += 1
                aggregate = await again()

    async def _append(self, aggregate: A, start: int, end: int, tx: Transaction | None) -> AppendResult:
        work, known = aggregate.uncommitted, aggregate.committed_version
        events = work.events[start - known : end - known]
        try:
            result = await self.store.append_to_stream(aggregate.stream_id, start, events, tx=tx)
        except PerdureError as error:
            if isinstance(error, OutcomeUnknownError):
                work.sent = end
            elif isinstance(error, OptimisticConcurrencyError) and start == known:
                work.sent = 0
            raise
        except BaseException:
            # Cancelled, or something that doesn't say whether it was written.
            work.sent = end
            raise
        if tx is None:
            aggregate.mark_events_as_committed(end)
        else:
            work.sent = end
            tx.after_commit(partial(aggregate.mark_events_as_committed, end))
        return result

    async def _load_or_new(self, aggregate_id: str | UUID) -> A:
        aggregate = self.aggregate_class(aggregate_id)
        async for stored in self.store.iterate_stream(aggregate.stream_id):
            aggregate.apply_stored_event(stored)
        return aggregate


def _spans(aggregate: AggregateRoot) -> list[tuple[int, int]]:
    """The appends that save the aggregate, from version to version: usually one.

    An append that may be written already is repeated as a whole, apart from what was raised later: only then do its ids
    bring its result back.
    """
    start, end = aggregate.committed_version, aggregate.stream_version
    middle = aggregate.uncommitted.sent or end
    return [(first, last) for first, last in ((start, middle), (middle, end)) if first < last]


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


def _asynchronous() -> InvalidArgumentError:
    return InvalidArgumentError(
        "action", "is asynchronous, but it must decide in one go: await what it needs first, and give it plain values"
    )

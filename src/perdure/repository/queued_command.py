"""`QueuedCommand`: one command in a queue, from the call of `execute` to the answer that its caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from typing import Generic, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult, Commit
from perdure.copies import own_copy
from perdure.errors import AggregateBusyError, OptimisticConcurrencyError
from perdure.errors.roots import copied
from perdure.events import StoredEvent
from perdure.outcome import AppendOutcome
from perdure.repository.command import CommandCall
from perdure.repository.loader import Loader
from perdure.repository.snapshotter import SnapshotWriter
from perdure.retry import Attempts
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)


class QueuedCommand(Generic[A]):
    """A command, what it decided, and the answer. Made in the caller's task.

    Attributes:
        command_id: the command's id, if it has one.
        loader: loads the state as its repository does.
        snapshots: writes the snapshots of its repository; None for no snapshots.
        context: the caller's, in which the action is called.
        attempts: how often it was tried to commit what it decided, and how long that may go on.
        conflicts_retried: how many conflicts are answered by deciding again.
        is_alone: whether it shares no commit, because one that it shared failed, perhaps by the fault of one command.
        commit: what it decided last; None if it raised no event, or an error.
        outcome: what is known of that commit; None before it is sent.

    Args:
        stream_id: the stream of the aggregate.
        command: decides with a copy of the state.
    """

    def __init__(
        self,
        stream_id: str,
        command: CommandCall[A],
        *,
        attempts: Attempts,
        loader: Loader[A],
        snapshots: SnapshotWriter[A] | None,
    ) -> None:
        self.stream_id = stream_id
        self.command_id = command.command_id
        self.loader = loader
        self.snapshots = snapshots
        self.context = copy_context()
        self.attempts = attempts
        self.conflicts_retried = 0
        self.is_alone = False
        self.commit: Commit | None = None
        self.outcome: AppendOutcome | None = None
        self._command = command
        self._decided: A | None = None
        self._conflict: Exception | None = None
        self._result: AppendResult | None = None
        self._error: BaseException | None = None
        loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[None] = loop.create_future()
        self._patience = loop.call_later(attempts.seconds_left, self.give_up)

    @property
    def is_answered(self) -> bool:
        """Whether its caller was answered, or no longer waits."""
        return self._answered.done()

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of the events that it decided on."""
        return [] if self.commit is None else [event.event_id for event in self.commit.events]

    @property
    def is_late(self) -> bool:
        """Whether no attempt may begin any more. One that commits alone, by the fault of others, is never late."""
        return not self.is_alone and not self.attempts.seconds_left

    def is_alike(self, stored: Sequence[StoredEvent]) -> bool:
        """Whether stored events, beginning with its own first one, may be its own and no more of it, by its id."""
        assert self.command_id is not None  # noqa: S101 - it isn't asked otherwise
        count = len(self.event_ids)
        following = stored[count].event_id if len(stored) > count else None
        return self.command_id.is_of(stored[0]) and following != self.command_id.event_id(count)

    def was_overtaken(self, version: int) -> bool:
        """Fail if the stream, which has that version now, can't have the expected one any more."""
        expected = self._command.exact_version
        if expected is None or expected == version:
            return False
        self._settle(None, OptimisticConcurrencyError(self.stream_id, expected, version))
        return True

    async def answer(self) -> AppendResult | None:
        """Wait for the answer. Return the result, or raise the error."""
        try:
            await self._answered
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._patience.cancel()
            self._error = None  # its traceback leads back here

    def begin(self) -> None:
        """Begin to serve it, for the first time or again."""
        self._patience.cancel()
        self.commit = self.outcome = self._decided = self._error = None

    def decide_again(self, conflict: Exception) -> None:
        """Note that it is to be decided again after a conflict."""
        self._conflict = conflict
        self.conflicts_retried += 1

    def decide(self, state: A, store: EventStore) -> None:
        """Call the action. The caller gets what it raises, and the copy of the state that it has changed."""
        try:
            aggregate = own_copy(state)
            del state  # the caller gets the frames of an error, too
            self.commit = self.context.run(self._decide, aggregate, store)
        except BaseException as error:  # noqa: BLE001 - as without a queue, whatever it is leaves the caller's call
            self._error = error

    def succeed(self, result: AppendResult | None) -> None:
        """Answer with the result, or with None if no event was raised, or with the error that the action raised."""
        if self._decided is not None and result is not None:
            # An action that has kept its copy has an aggregate like any other that was saved.
            self._decided.mark_events_as_committed(result.stream_version)
        self._settle(result, self._error)

    def fail(self, error: BaseException) -> None:
        """Answer with an error that may concern other commands, too.

        The caller gets a copy, with its own traceback and its own attempts; or an OutcomeUnknownError with the ids of
        its own events.
        """
        reported = error if self.outcome is None else self.outcome.reported(error, self.event_ids)
        if isinstance(reported, OptimisticConcurrencyError):
            reported = reported.given_up(self.attempts.count, self.attempts.seconds)
        self._settle(None, copied(error) if reported is error else reported)

    def give_up(self) -> None:
        """Answer with an error because the time is over, before it was decided again, or at all."""
        self.fail(self._conflict or AggregateBusyError(self.stream_id, self.attempts.seconds))

    def _decide(self, aggregate: A, store: EventStore) -> Commit | None:
        version = aggregate.stream_version
        self._command.act(aggregate)
        events = aggregate.uncommitted_events
        if not events:
            return None
        if aggregate.committed_version != version:
            raise OptimisticConcurrencyError(self.stream_id, aggregate.committed_version, version)
        self._decided = aggregate
        # Encoded here, a value that can't be stored fails no other command.
        return store.encode(self.stream_id, version, events)

    def _settle(self, result: AppendResult | None, error: BaseException | None) -> None:
        if not self.is_answered:
            self._result, self._error = result, error
            self._answered.set_result(None)

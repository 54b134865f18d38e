"""`Turn`: one command that takes its turn at an aggregate, from its caller's wish to its caller's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, Generic, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult, Commit
from perdure.copies import own_copy
from perdure.errors import OptimisticConcurrencyError, OutcomeUnknownError, StoreOverloadedError
from perdure.errors.roots import copied
from perdure.repository.command_id import CommandId, act
from perdure.retry import RetryConfig
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)

PATIENCE: Final = 10.0
"""Seconds that a command waits for its turn to come."""


class Turn(Generic[A]):
    """What a caller wants done, and what came of it. Made in the caller's task.

    Attributes:
        command: the command's name, if it has one.
        context: the caller's, in which the action is called.
        retry: how often, and after which pauses, it is committed again.
        attempts: how often it was tried to commit what it decided.
        is_alone: whether it shares no commit, because one that it shared failed for a reason that one turn alone has.
        is_in_doubt: whether what it decided was sent, and may be written or not.
        commit: what it decided last; None when it raised no event, or an error.

    Args:
        stream_id: the stream of the aggregate.
        action: called with a copy of the state.
    """

    def __init__(
        self, stream_id: str, action: Callable[[A], object], command: CommandId | None, retry: RetryConfig
    ) -> None:
        self.stream_id = stream_id
        self.command = command
        self.retry = retry
        self.attempts = 0
        self.is_alone = False
        self.is_in_doubt = False
        self.commit: Commit | None = None
        self._action = action
        self.context = copy_context()
        self._decided: A | None = None
        self._result: AppendResult | None = None
        self._error: BaseException | None = None
        loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[None] = loop.create_future()
        self._patience = loop.call_later(PATIENCE, self._give_up)

    @property
    def is_over(self) -> bool:
        """Whether its caller was answered, or waits no more."""
        return self._answered.done()

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of the events that it decided on."""
        return [] if self.commit is None else [event.event_id for event in self.commit.events]

    @property
    def is_out_of_attempts(self) -> bool:
        """Whether its caller wants to hear of a failure now."""
        return self.attempts >= self.retry.max_attempts

    async def answer(self) -> AppendResult | None:
        """Wait for the outcome, which is the caller's: a result, or an error that is raised."""
        try:
            await self._answered
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._patience.cancel()
            self._error = None  # its traceback leads back here

    def begin(self) -> None:
        """The turn has come, for the first time or again."""
        self._patience.cancel()
        self.commit = self._decided = self._error = None

    def decide(self, state: A, store: EventStore) -> None:
        """Call the action. What it raises is the caller's, and so is the copy of the state that it has changed."""
        try:
            aggregate = own_copy(state)
            del state  # the frames of an error are the caller's, too
            self.commit = self.context.run(self._decide, aggregate, store)
        except BaseException as error:  # noqa: BLE001 - as without turns, whatever it is leaves the caller's call
            self._error = error

    def succeed(self, result: AppendResult | None) -> None:
        """Its events stand there; or it raised none, or the error of its own that the answer is then."""
        if self._decided is not None and result is not None:
            # An action that has kept its copy has an aggregate like any other that was saved.
            self._decided.mark_events_as_committed(result.stream_version)
        self._settle(result, self._error)

    def fail(self, error: BaseException) -> None:
        """Answer with a copy of the error: others whom it concerns have theirs, each with a traceback of its own."""
        if self.is_in_doubt:
            unknown = OutcomeUnknownError(self.event_ids)
            unknown.__cause__ = error
            self._settle(None, unknown)
        else:
            self._settle(None, copied(error))

    def _decide(self, aggregate: A, store: EventStore) -> Commit | None:
        version = aggregate.stream_version
        act(self._action, aggregate, self.command)
        events = aggregate.uncommitted_events
        if not events:
            return None
        if aggregate.committed_version != version:
            raise OptimisticConcurrencyError(self.stream_id, aggregate.committed_version, version)
        self._decided = aggregate
        # Encoded here, a value that can't be stored fails nobody else's command.
        return store.encode(self.stream_id, version, events)

    def _give_up(self) -> None:
        self.fail(StoreOverloadedError(f"a command waited for its turn at {self.stream_id!r}", PATIENCE))

    def _settle(self, result: AppendResult | None, error: BaseException | None) -> None:
        if not self.is_over:
            self._result, self._error = result, error
            self._answered.set_result(None)

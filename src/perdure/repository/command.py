"""What `execute` is given: the action, and what must hold before it is called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function
from perdure.commit import AppendResult, ExpectedVersion, is_expected
from perdure.errors import EventIdReuseError, InvalidArgumentError, OptimisticConcurrencyError
from perdure.repository.command_id import CommandId
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)


class CommandCall(NamedTuple, Generic[A]):
    """A command as `execute` was called with it."""

    action: Callable[[A], object]
    """Decides: a synchronous function that raises events."""
    command_id: CommandId | None = None
    """Its id, if it has one."""
    expected_version: ExpectedVersion | None = None
    """The version that the aggregate must have, if that matters."""

    @property
    def exact_version(self) -> int | None:
        """The version that the aggregate must have, if that is a number: then deciding again is of no use."""
        return self.expected_version if isinstance(self.expected_version, int) else None

    def act(self, aggregate: A) -> None:
        """Call the action. The command's id, if it has one, causes the events, and their ids follow from it.

        Raises:
            OptimisticConcurrencyError: the aggregate hasn't the expected version.
        """
        expected, version = self.expected_version, aggregate.stream_version
        if expected is not None and not is_expected(version, expected):
            raise OptimisticConcurrencyError(aggregate.stream_id, expected, version)
        if self.command_id is None:
            _call(self.action, aggregate)
            return
        with self.command_id.as_cause():
            _call(self.action, aggregate)
        self.command_id.claim(aggregate.uncommitted.events)


def check_action(action: object) -> None:
    """Raise InvalidArgumentError unless the action is a synchronous function."""
    check_function("action", action)
    if inspect.iscoroutinefunction(action):
        raise _asynchronous()


class IdentifiedCommand(Generic[A]):
    """A command with an id, decided on fresh state as often as needed, and at most once by all who send it.

    Args:
        command: decides.
        command_id: its id.
        load: loads the aggregate.
        store: where the events of an earlier execution would be.
    """

    def __init__(
        self,
        command: CommandCall[A],
        command_id: CommandId,
        load: Callable[[], Awaitable[A]],
        store: EventStore,
    ) -> None:
        self._command = command
        self._command_id = command_id
        self._load = load
        self._store = store
        self._earlier: AppendResult | None = None

    async def decide(self) -> A | AppendResult:
        """Return the aggregate with the events of the command, or the result if it was executed before."""
        aggregate = await self._load()
        # After loading: if the command wasn't executed by now, it isn't in what was loaded, so deciding is right. If
        # another process executes it meanwhile, saving finds its ids.
        self._earlier = await self._command_id.earlier_result(self._store)
        if self._earlier is not None:
            return self._earlier
        self._command.act(aggregate)
        return aggregate

    async def result(self, saving: Awaitable[AppendResult | None]) -> AppendResult | None:
        """Return the result of the command, even if another process executed it. `saving` saves what was decided."""
        try:
            result = await saving
        except EventIdReuseError:
            # Another process executed the command meanwhile, and raised another number of events.
            if (first := await self._command_id.earlier_result(self._store)) is None:
                raise
            return first
        if result is None or not result.is_repeat or self._earlier is not None:
            return result
        # Another attempt of the command may have raised other events, or been another command.
        with self._command_id.settling(len(result.global_positions)):
            return await self._command_id.earlier_result(self._store)


def _call(action: Callable[[A], object], aggregate: A) -> None:
    answer = action(aggregate)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise _asynchronous()


def _asynchronous() -> InvalidArgumentError:
    return InvalidArgumentError(
        "action", "is asynchronous, but it must decide in one go: await what it needs first, and give it plain values"
    )

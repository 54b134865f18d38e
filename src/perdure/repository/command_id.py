"""Commands with an id: a repeat is recognised by its events, whose ids follow from the command's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Generic, TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, checked_id
from perdure.commit import AppendResult
from perdure.context import context, current_context
from perdure.errors import EventIdReuseError, InvalidArgumentError
from perdure.event_ids import derived_id
from perdure.store import EventStore


class CommandId:
    """The id of one command to one stream.

    The ids of its events there follow from it. See `derived_id`.

    Args:
        command_id: a UUID, or any text, such as what a client sends as ``Idempotency-Key``.
        stream_id: the stream of the aggregate.

    Raises:
        InvalidArgumentError: the id is no UUID and no text, is empty, or can't be stored.
    """

    def __init__(self, command_id: UUID | str, stream_id: str) -> None:
        self.text = checked_id("command_id", command_id)
        self._stream_id = stream_id

    def event_id(self, number: int) -> UUID:
        """Return the id of the command's event with that number: 0, 1, 2 ..."""
        return derived_id(self.text, self._stream_id, number)

    def claim(self, aggregate: AggregateRoot) -> None:
        """Give the uncommitted events the ids that follow from the command's."""
        for number, new in enumerate(aggregate.uncommitted.events):
            new.event_id = self.event_id(number)
            new.is_derived = True  # another attempt may decide otherwise: the first decision is kept

    async def earlier_result(self, store: EventStore) -> AppendResult | None:
        """Return the positions of the events that the command has raised already; None if it has raised none."""
        first = await store.read_event(self.event_id(0))
        if first is None or first.stream_id != self._stream_id:
            return None
        version = first.stream_version - 1
        positions: list[int] = []
        async with aclosing(store.iterate_stream(self._stream_id, version)) as events:
            async for stored in events:
                if stored.event_id != self.event_id(len(positions)):
                    break
                positions.append(stored.global_position)
        return AppendResult(self._stream_id, version + len(positions), tuple(positions))


A = TypeVar("A", bound=AggregateRoot)


def check_action(action: object) -> None:
    """Raise InvalidArgumentError unless the action is a synchronous function."""
    check_function("action", action)
    if inspect.iscoroutinefunction(action):
        raise _asynchronous()


def act(action: Callable[[A], object], aggregate: A, command_id: CommandId | None) -> None:
    """Call the action. The command's id, if it has one, causes the events, and their ids follow from it."""
    if command_id is None:
        _call(action, aggregate)
        return
    with context(causation_id=current_context().causation_id or command_id.text):
        _call(action, aggregate)
    command_id.claim(aggregate)


class IdentifiedCommand(Generic[A]):
    """A command with an id, decided on fresh state as often as needed, and at most once by all who send it.

    Args:
        command_id: its id.
        action: decides.
        load: loads the aggregate.
        store: where the events of an earlier execution would be.
    """

    def __init__(
        self,
        command_id: CommandId,
        action: Callable[[A], object],
        load: Callable[[], Awaitable[A]],
        store: EventStore,
    ) -> None:
        self._command_id = command_id
        self._action = action
        self._load = load
        self._store = store
        self._version = 0

    async def decide(self) -> A | AppendResult:
        """Return the aggregate with the events of the command, or the result if it was executed before."""
        aggregate = await self._load()
        # After loading: if the command wasn't executed by now, it isn't in what was loaded, so deciding is right. If
        # another process executes it meanwhile, saving finds its ids.
        if (earlier := await self._command_id.earlier_result(self._store)) is not None:
            self._version = earlier.stream_version
            return earlier
        act(self._action, aggregate, self._command_id)
        self._version = aggregate.stream_version
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
        if result is not None and result.stream_version != self._version:
            return await self._command_id.earlier_result(self._store)
        return result


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

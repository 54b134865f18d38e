"""Commands that know their name: a repeat of one is recognised by its events, whose ids follow from it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TypeVar
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, checked_id
from perdure.commit import AppendResult
from perdure.context import context, current_context
from perdure.errors import InvalidArgumentError
from perdure.store import EventStore


class CommandId:
    """The name of one command to one stream.

    The id of its first, second, third ... event there is a hash of it: a UUID of version 8, whose first bits are the
    time of the command's own id where that is a UUID of version 7. So events stand together in the index, as others do.

    Args:
        command_id: a UUID, or any text, such as what a client sends as ``Idempotency-Key``.
        stream_id: the stream that it is for.

    Raises:
        InvalidArgumentError: the id is no UUID and no text, is empty, or can't be stored.
    """

    def __init__(self, command_id: UUID | str, stream_id: str) -> None:
        self.text = checked_id("command_id", command_id)
        self._stream_id = stream_id
        self._time = _time_of(self.text)

    def event_id(self, number: int) -> UUID:
        """The id of the command's event with that number: 0, 1, 2 ..."""
        # Neither text holds the NUL between them, so no two commands share an id.
        digest = hashlib.sha256(f"{self.text}\0{self._stream_id}\0{number}".encode()).digest()
        value = int.from_bytes((self._time + digest[len(self._time) :])[:16], "big")
        version_and_variant = (0xF << 76) | (0x3 << 62)
        return UUID(int=value & ~version_and_variant | (0x8 << 76) | (0x2 << 62))

    def claim(self, aggregate: AggregateRoot) -> None:
        """Give the uncommitted events the ids that follow from the command's."""
        for number, new in enumerate(aggregate.uncommitted.events):
            new.event_id = self.event_id(number)

    async def earlier_result(self, store: EventStore) -> AppendResult | None:
        """Where the events stand that the command has raised already; None when it has raised none."""
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


def _time_of(text: str) -> bytes:
    """The milliseconds that a UUID of version 7 begins with; nothing where the text is none."""
    with suppress(ValueError):
        found = UUID(text)
        if found.version == 7:
            return found.bytes[:6]
    return b""


A = TypeVar("A", bound=AggregateRoot)


def check_action(action: object) -> None:
    """Raise InvalidArgumentError unless it is a function that isn't asynchronous."""
    check_function("action", action)
    if inspect.iscoroutinefunction(action):
        raise _asynchronous()


def act(action: Callable[[A], object], aggregate: A, command: CommandId | None) -> None:
    """Call the action. The command, if it has a name, causes the events, and gives them their ids."""
    if command is None:
        _call(action, aggregate)
        return
    with context(causation_id=current_context().causation_id or command.text):
        _call(action, aggregate)
    command.claim(aggregate)


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

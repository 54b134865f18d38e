"""Commands with an id: a repeat is recognised by its events, whose ids follow from the command's."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Final
from uuid import UUID

from perdure.checks import checked_id
from perdure.commit import AppendResult
from perdure.context import Context, context, current_context
from perdure.errors import CommandIdReuseError, InvalidArgumentError, OutcomeUnknownError, PerdureError
from perdure.event_ids import derived_id
from perdure.events import NewEvent, StoredEvent
from perdure.repository.fingerprint import HEADER, digest_of, stored_digest
from perdure.store import EventStore
from perdure.transaction import Transaction

SEVERAL_STREAMS: Final = ""
"""In place of a stream id: the command may change several streams."""


class CommandId:
    """The id of one command, to one stream or to several at once, and its fingerprint.

    The ids of its events follow from it. See `derived_id`.

    Args:
        command_id: a UUID, or any text, such as what a client sends as ``Idempotency-Key``.
        stream_id: the stream of the aggregate; or `SEVERAL_STREAMS`: then the ids follow from the command's alone.
        fingerprint: tells the command from others under the same id; None: nothing is compared.

    Raises:
        InvalidArgumentError: the id is no UUID and no text, is empty, or can't be stored; or the fingerprint is none.
    """

    def __init__(self, command_id: UUID | str, stream_id: str, fingerprint: bytes | str | None = None) -> None:
        self.text = checked_id("command_id", command_id)
        self._stream_id = stream_id
        self._digest = None if fingerprint is None else digest_of(fingerprint)

    def event_id(self, number: int) -> UUID:
        """Return the id of the command's event with that number: 0, 1, 2 ..."""
        return derived_id(self.text, self._stream_id, number)

    def event_ids(self, count: int) -> list[UUID]:
        """Return the ids of the command's first events."""
        return [self.event_id(number) for number in range(count)]

    def as_cause(self) -> AbstractContextManager[Context]:
        """Make the command the cause of the events that are raised in the block, unless they have one."""
        return context(causation_id=current_context().causation_id or self.text)

    def claim(self, events: Sequence[NewEvent]) -> None:
        """Give the events that the command raised the ids that follow from its own. The first keeps its fingerprint.

        Headers that a follower has passed on may hold that of another command, which is dropped here.
        """
        for number, new in enumerate(events):
            new.event_id = self.event_id(number)
            new.is_derived = True  # another attempt may decide otherwise: the first decision is kept
        if not events:
            return
        if self._digest is not None:
            events[0].context = events[0].context.with_headers({HEADER: self._digest})
        elif HEADER in events[0].context.headers:
            events[0].context = events[0].context.without_header(HEADER)

    def is_of(self, first: StoredEvent) -> bool:
        """Whether its first event was raised by the same command, as far as fingerprints tell."""
        stored = None if self._digest is None else stored_digest(first)
        return stored is None or stored == self._digest

    async def earlier_result(self, store: EventStore, tx: Transaction | None = None) -> AppendResult | None:
        """Return the positions of the events that the command has raised already; None if it has raised none.

        Raises:
            CommandIdReuseError: they were raised by another command.
        """
        first = await self._first(store, tx)
        return None if first is None else await self._result(store, first, 0, tx)

    async def earlier_results(self, store: EventStore) -> list[AppendResult]:
        """Return the same for each stream that the command has changed, in its order; an empty list if it has none."""
        results: list[AppendResult] = []
        number = 0
        found = await self._first(store)
        while found is not None:
            results.append(await self._result(store, found, number))
            number += len(results[-1].global_positions)
            found = await store.read_event(self.event_id(number))
        return results

    @contextmanager
    def settling(self, count: int) -> Generator[None]:
        """In the block, an error that would say that nothing was written becomes an OutcomeUnknownError."""
        try:
            yield
        except CommandIdReuseError:
            raise
        except PerdureError as error:
            raise OutcomeUnknownError(self.event_ids(count)) from error

    async def _first(self, store: EventStore, tx: Transaction | None = None) -> StoredEvent | None:
        first = await store.read_event(self.event_id(0), tx=tx)
        if first is None or self._stream_id not in (first.stream_id, SEVERAL_STREAMS):
            return None
        if not self.is_of(first):
            raise CommandIdReuseError(first.stream_id, self.text)
        return first

    async def _result(
        self, store: EventStore, first: StoredEvent, number: int, tx: Transaction | None = None
    ) -> AppendResult:
        """Return the positions of consecutive events of a stream: `first`, which has that number, and the following."""
        stream_id, version = first.stream_id, first.stream_version - 1
        positions: list[int] = []
        async with aclosing(store.iterate_stream(stream_id, version, tx=tx)) as events:
            async for stored in events:
                if stored.event_id != self.event_id(number + len(positions)):
                    break
                positions.append(stored.global_position)
        return AppendResult(stream_id, version + len(positions), tuple(positions), is_repeat=True)


def identified(
    command_id: UUID | str | None, stream_id: str, fingerprint: bytes | str | None = None
) -> CommandId | None:
    """Return the `CommandId` of a call; None if it has none. Raise InvalidArgumentError as that does."""
    if command_id is not None:
        return CommandId(command_id, stream_id, fingerprint)
    if fingerprint is not None:
        raise InvalidArgumentError(
            "fingerprint", "is of no use without a command_id: it tells commands of one id apart"
        )
    return None

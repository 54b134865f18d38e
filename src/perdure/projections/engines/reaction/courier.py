"""The port of what is called outside the database for events: the handlers of a reaction, or a broker.

The engine decides what is delivered when, records it, and retries what fails. A courier only delivers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from perdure.events import StoredEvent
from perdure.projections.engine import ProjectionDefinition
from perdure.projections.state.identity import Key


class Parcel(NamedTuple):
    """An event that is to be delivered."""

    stored: StoredEvent
    key: Key
    """Events of the same key are delivered one after the other, in the order of the log."""
    attempt: int
    """How often it was tried, with this time."""
    may_be_repeat: bool
    """Whether an earlier attempt may have delivered it, as far as is known."""


class Courier(ProjectionDefinition, Protocol):
    """The definition of what is delivered, and how."""

    @property
    def concurrency(self) -> int:
        """How many calls of `deliver` may be under way at once in a process."""
        ...

    @property
    def most_at_once(self) -> int:
        """How many events a call of `deliver` takes at most."""
        ...

    def wants(self, stored: StoredEvent) -> bool:
        """Return whether an event is delivered at all. Called for each event: don't decode it."""
        ...

    def key_of(self, stored: StoredEvent) -> Key:
        """Return the key of an event that is wanted. Raise an error if it has none: the segment pauses then."""
        ...

    async def deliver(self, parcels: Sequence[Parcel], timeout: float) -> Sequence[Exception | None]:
        """Deliver events, and return an outcome for each: None if it is delivered, or why it may not be.

        Events of a key are in the order of the log, and adjacent. If one fails, the later ones of its key must not be
        delivered: return an error for each of them, too. Events of different keys don't affect each other. Only
        KeyboardInterrupt, SystemExit and a cancellation from outside may be raised.

        Args:
            parcels: one to `most_at_once` events.
            timeout: how many seconds it may take.
        """
        ...

    def retry_in(self, attempts: int, seconds: float) -> float | None:
        """Return after how many seconds to try again; None to give up, until an operator asks for a retry.

        Args:
            attempts: how often the event was tried.
            seconds: how long ago it failed first.
        """
        ...

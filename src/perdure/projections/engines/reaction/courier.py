"""The port of what is called outside the database for events: the handlers of a reaction, or a broker.

`ReactionProcessor` decides what is delivered when, records it, and retries what fails. A courier only delivers. So
another kind needs three things:

1. A definition that is a `Courier`: see `ReactionDefinition`, or derive from `CourierDefinition`, which has what they
   all have.
2. A line in `factory._ENGINES` that maps its class to `_reaction_engine`, and a case in `factory.courier_of`.
3. Its public class in `perdure.follower.Follower`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from perdure.declaration import OnFailure
from perdure.events import StoredEvent
from perdure.projections.engine import NamedTable, ProjectionDefinition
from perdure.projections.state.identity import BuildId, Key
from perdure.projections.state.options import Kind, Mode
from perdure.retry import RetryConfig


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
    """The definition of what is delivered, and how. Its `retry` says how often an event is tried."""

    @property
    def retry(self) -> RetryConfig:
        """How often an event is tried. After that it is parked for its key until an operator retries or skips it."""
        ...

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

        Events of a key are in the order of the log. If one fails, the later ones of its key must not be delivered:
        return any error for each of them, too. Events of different keys don't affect each other. An event whose error
        is a BrokerUnavailableError isn't parked: it and all that follows wait, and the runner tries again. Only
        KeyboardInterrupt, SystemExit and a cancellation from outside may be raised; any other exception counts as the
        failure of all of them.

        Args:
            parcels: one to `most_at_once` events.
            timeout: how many seconds it may take.
        """
        ...


class CourierDefinition:
    """What all couriers have in common: one build, no tables, parking for each key."""

    version: int = 1
    mode: Mode = "async"
    on_failure: OnFailure = "park"
    tables: Sequence[NamedTable] = ()
    shape: str = "[]"
    is_divisible: bool = True

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind: Kind = kind
        self.build = BuildId(name, self.version)

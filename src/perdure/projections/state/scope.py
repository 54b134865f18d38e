"""The scope of a batch: which rows it changes, and which of its events are parked or skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from perdure.events import StoredEvent
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import Key, KeyCodec


class HashRange(Protocol):
    """A range of key hashes, such as a segment."""

    def holds(self, key_hash: int) -> bool:
        """Return whether the hash is in the range."""
        ...


@dataclass(frozen=True)
class Scope:
    """The rows that a batch changes, and the events that must not reach them."""

    segments: Sequence[HashRange] | None = None
    """Only the rows of these segments; None means all rows."""
    only: Key | None = None
    """Only the row of this key; None means all rows."""
    skipped: AbstractSet[tuple[int, Key | None]] = frozenset()
    """The events to leave out: a position and a key, or None for all keys."""
    blocked: AbstractSet[Key] = frozenset()
    """The keys that have a parked event, so that their further events wait behind it."""
    parked: Mapping[tuple[int, Key], EventFailure] = field(default_factory=dict[tuple[int, Key], EventFailure])
    """The events to park now: a position and a key, with the failure. Later events of the key wait behind them."""

    def holds(self, keys: KeyCodec, key: Key) -> bool:
        """Return whether the row of this key is in the scope."""
        if self.only is not None:
            return key == self.only
        if self.segments is None:
            return True
        key_hash = keys.hash_of(key)
        for segment in self.segments:  # noqa: SIM110 - runs for each event: a generator costs twice as much
            if segment.holds(key_hash):
                return True
        return False

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in the scope."""
        return self.segments is None and self.only is None

    @property
    def may_divert(self) -> bool:
        """Whether an event may be skipped or parked."""
        return bool(self.skipped or self.blocked or self.parked)


EVERYTHING: Final = Scope()


class DivertedEvent(NamedTuple):
    """An event that goes to the parked events of a key instead of its row."""

    stored: StoredEvent
    key: Key
    failure: EventFailure | None
    """Why it failed; None if it waits behind an event that failed."""
    retry_in: float | None = None
    """After how many seconds it is tried again; None: when an operator asks for it."""

"""The scope of a batch: which keys it covers, and which of them are diverted to the parked events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from perdure.events import StoredEvent
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import Key, KeyCodec


class HashRange(Protocol):
    """Something that holds rows by the hash of their keys."""

    def holds(self, key_hash: int) -> bool:
        """Whether the rows of that hash are in it."""
        ...


@dataclass(frozen=True)
class Scope:
    """Which rows a fold is about, and which events must not reach them."""

    segments: Sequence[HashRange] | None = None
    """Only the rows of these; None means all."""
    only: Key | None = None
    """Only the row of this key; None means all."""
    skipped: AbstractSet[tuple[int, Key | None]] = frozenset()
    """The events, by position, that pass by, each for a key; None means for all."""
    blocked: AbstractSet[Key] = frozenset()
    """The keys whose events wait behind one that is parked."""
    parked: Mapping[tuple[int, Key], EventFailure] = field(default_factory=dict[tuple[int, Key], EventFailure])
    """The events, by position, that are parked now, each for a key; the later ones of the key wait behind it."""

    def holds(self, keys: KeyCodec, key: Key) -> bool:
        """Whether the fold is about the row of this key."""
        if self.only is not None:
            return key == self.only
        if self.segments is None:
            return True
        key_hash = keys.hash_of(key)
        for segment in self.segments:  # noqa: SIM110 - asked for each event: a generator costs twice as much
            if segment.holds(key_hash):
                return True
        return False

    @property
    def is_whole(self) -> bool:
        """Whether it is about all rows."""
        return self.segments is None and self.only is None

    @property
    def may_divert(self) -> bool:
        """Whether an event may pass by a row, or wait for another."""
        return bool(self.skipped or self.blocked or self.parked)


EVERYTHING: Final = Scope()


class Diverted(NamedTuple):
    """An event that doesn't reach the row of a key: it failed, or waits behind one that did."""

    stored: StoredEvent
    key: Key
    failure: EventFailure | None
    """Why it failed; None when it waits."""

"""What caused what: events that belong together, as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from perdure.events import StoredEvent


class CausedEvent(msgspec.Struct, frozen=True, eq=False):
    """An event, and what it brought about. Made by `EventStore.causation_tree`.

    Attributes:
        stored: The event.
        effects: What it caused, in the order of the log.
    """

    stored: StoredEvent
    effects: list[CausedEvent]

    def walk(self) -> Iterator[tuple[int, StoredEvent]]:
        """Each event of the tree with its depth, which is 0 here: an event before its effects."""
        waiting = [(0, self)]
        while waiting:
            depth, one = waiting.pop()
            yield depth, one.stored
            waiting += [(depth + 1, effect) for effect in reversed(one.effects)]


def caused_events(events: Iterable[StoredEvent]) -> list[CausedEvent]:
    """The events as trees, given in the order of the log.

    An event whose cause isn't among the earlier ones stands at the top: a command caused it, or somebody from outside.
    """
    top: list[CausedEvent] = []
    by_id: dict[str, CausedEvent] = {}
    for stored in events:
        one = CausedEvent(stored, [])
        cause = by_id.get(stored.metadata.causation_id or "")
        (top if cause is None else cause.effects).append(one)
        by_id[str(stored.event_id)] = one
    return top

"""Causation: events of one request as trees of causes and effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from perdure.events import StoredEvent


class CausedEvent(msgspec.Struct, frozen=True, eq=False):
    """An event and its effects. Returned by `EventStore.causation_tree`.

    Attributes:
        stored: The event.
        effects: The events that it caused, in the order of the log.
    """

    stored: StoredEvent
    effects: list[CausedEvent]

    def walk(self) -> Iterator[tuple[int, StoredEvent]]:
        """Yield the depth and the event of each node, causes before effects. The depth of this event is 0."""
        waiting = [(0, self)]
        while waiting:
            depth, one = waiting.pop()
            yield depth, one.stored
            waiting += [(depth + 1, effect) for effect in reversed(one.effects)]


def caused_events(events: Iterable[StoredEvent]) -> list[CausedEvent]:
    """Return the trees of events that are given in the order of the log.

    An event whose cause isn't an earlier one of them is a root: a command or an outside system caused it.
    """
    top: list[CausedEvent] = []
    by_id: dict[str, CausedEvent] = {}
    for stored in events:
        one = CausedEvent(stored, [])
        cause = by_id.get(stored.metadata.causation_id or "")
        (top if cause is None else cause.effects).append(one)
        by_id[str(stored.event_id)] = one
    return top

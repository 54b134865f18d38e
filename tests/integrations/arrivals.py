"""What arrived at a broker, judged: nothing lost, nothing doubled, and the order of each key kept."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from perdure.message import Message


class Judgement(NamedTuple):
    """What is wrong with what arrived; empty if nothing is."""

    lost: Sequence[UUID]
    """Confirmed, and not there."""
    doubled: Sequence[UUID]
    disordered: Sequence[UUID]
    """Behind a later message of their key."""
    unknown: Sequence[UUID]
    """There, and never sent."""

    def __bool__(self) -> bool:
        return any(self)


def judged(confirmed: Iterable[Message], arrived: Iterable[UUID]) -> Judgement:
    """Compare what a publisher confirmed, in the order of the log, with what a consumer read."""
    keys = {message.event_id: (message.key, place) for place, message in enumerate(confirmed)}
    counts = Counter[UUID]()
    furthest: dict[str, int] = {}
    disordered: list[UUID] = []
    for event_id in arrived:
        counts[event_id] += 1
        if event_id in keys and counts[event_id] == 1:
            key, place = keys[event_id]
            if place < furthest.get(key, -1):
                disordered.append(event_id)
            furthest[key] = max(place, furthest.get(key, -1))
    return Judgement(
        lost=[event_id for event_id in keys if not counts[event_id]],
        doubled=[event_id for event_id, count in counts.items() if count > 1],
        disordered=disordered,
        unknown=[event_id for event_id in counts if event_id not in keys],
    )

"""Trees of what caused what: whatever the ids say, each event stands in one place."""

from datetime import UTC, datetime
from uuid import UUID

from perdure.causation import caused_events
from perdure.events import StoredEvent


def stored(number: int, cause: int | None) -> StoredEvent:
    causation = "" if cause is None else f',"causation_id":"{UUID(int=cause)}"'
    metadata = f'{{"timestamp":"2024-01-01T00:00:00Z"{causation}}}'
    return StoredEvent("note-1", number, number, UUID(int=number), "noted", 1, "{}", metadata, datetime.now(UTC))


def shape(causes: list[int | None]) -> list[list[tuple[int, int]]]:
    """For each tree the depth and the number of each event; they are caused, one after the other, by these."""
    events = [stored(number, cause) for number, cause in enumerate(causes, 1)]
    return [[(depth, one.stream_version) for depth, one in top.walk()] for top in caused_events(events)]


def test_nothing_is_no_tree() -> None:
    assert shape([]) == []


def test_effects_stand_in_order_beneath_their_cause() -> None:
    assert shape([None, 1, 2, 1, 3]) == [[(0, 1), (1, 2), (2, 3), (3, 5), (1, 4)]]


def test_an_event_whose_cause_is_elsewhere_stands_at_the_top() -> None:
    assert shape([99, None, 99, 1]) == [[(0, 1), (1, 4)], [(0, 2)], [(0, 3)]]


def test_an_event_is_caused_by_no_later_one_and_not_by_itself() -> None:
    assert shape([2, 1, 3]) == [[(0, 1), (1, 2)], [(0, 3)]]


def test_a_long_chain_is_walked() -> None:
    [chain] = shape([None, *range(1, 20_000)])
    assert chain[-1] == (19_999, 20_000)

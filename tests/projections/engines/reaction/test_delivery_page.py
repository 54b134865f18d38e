"""The plan of a batch: whatever is taken, returned and fails in whatever order, each key stays in order."""

from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from perdure.events import StoredEvent
from perdure.projections.engines.reaction.courier import Parcel
from perdure.projections.engines.reaction.delivery_page import DeliveryPage
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import DivertedEvent


def stored(position: int) -> StoredEvent:
    return StoredEvent("x-1", position, position, UUID(int=position), "x", 1, "{}", "{}", datetime.now(UTC))


def parcels_of(keys: str) -> list[Parcel]:
    return [Parcel(stored(number + 1), (key,), 1, may_be_repeat=False) for number, key in enumerate(keys)]


def page_of(parcels: list[Parcel], busy: frozenset[Key] = frozenset()) -> DeliveryPage:
    page = DeliveryPage([parcel.stored for parcel in parcels], busy)
    for parcel in parcels:
        page.own(parcel.stored)
        page.add(parcel)
    return page


def positions(parcels: list[Parcel]) -> list[int]:
    return [parcel.stored.global_position for parcel in parcels]


def test_the_earliest_event_is_taken_first_and_one_of_each_key() -> None:
    page = page_of(parcels_of("abab"))

    assert [positions(page.take(1)), positions(page.take(1)), positions(page.take(1))] == [[1], [2], []]
    page.release(("b",))
    assert positions(page.take(1)) == [4]


def test_several_are_taken_with_those_of_a_key_in_order() -> None:
    assert positions(page_of(parcels_of("abab")).take(3)) == [1, 3, 2]


def test_nothing_is_taken_for_a_key_of_which_something_is_under_way_elsewhere() -> None:
    page = page_of(parcels_of("ab"), busy=frozenset({("a",)}))

    assert positions(page.take(5)) == [2]
    page.release(("a",))
    assert positions(page.take(5)) == [1]


def test_nothing_is_taken_beyond_a_limit() -> None:
    page = page_of(parcels_of("abc"))
    page.limit(2)

    assert positions(page.take(5)) == [1, 2]


@given(
    keys=st.text("abc", max_size=30),
    most=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=100),
)
def test_each_event_is_settled_once_and_in_order_for_its_key(
    keys: str, most: int, steps: list[tuple[int, bool]]
) -> None:
    parcels = parcels_of(keys)
    page = page_of(parcels)
    under_way: list[list[Parcel]] = []
    delivered: defaultdict[Key, list[int]] = defaultdict(list)
    recorded, parked = 0, list[int]()
    for draw, fails in steps:
        if draw % 2 and (taken := page.take(most)):
            assert not {one.key for one in taken} & {one.key for each in under_way for one in each}
            under_way.append(taken)
        elif under_way:
            chunk = under_way.pop(draw % len(under_way))
            first = chunk[0]
            if fails:
                rest = [one for one in chunk[1:] if one.key == first.key]
                page.park(DivertedEvent(first.stored, first.key, _failure()), rest)
            for one in chunk:
                if not fails or one.key != first.key:
                    page.settle(one.stored)
                    delivered[one.key].append(one.stored.global_position)
            for key in {one.key for one in chunk}:
                page.release(key)
        settled, diverted = page.settled()
        assert [one.global_position for one in settled] == [*range(recorded + 1, recorded + 1 + len(settled))]
        recorded += len(page.recorded(settled))
        parked += [one.stored.global_position for one in diverted]
    in_hand = {one.stored.global_position for each in under_way for one in each}
    assert all(position > recorded for position in in_hand)
    assert all(found == sorted(found) for found in delivered.values())
    seen = sorted([*(one for found in delivered.values() for one in found), *parked])
    assert len(seen) == len(set(seen))
    assert set(range(1, recorded + 1)) <= set(seen)


def _failure() -> EventFailure:
    return EventFailure(
        global_position=1,
        stream_id="x-1",
        stream_version=1,
        event_id=UUID(int=1),
        event_type="x",
        error_type="ValueError",
        message="",
        traceback="",
        attempts=1,
        failed_at=datetime.now(UTC),
    )

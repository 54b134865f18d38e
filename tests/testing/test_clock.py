"""Time and event ids under control."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from perdure import InvalidArgumentError, NewEvent, event
from perdure.context import current_sources
from perdure.testing import FixedClock, controlled, sequential_ids


@event("clock.ticked")
class Ticked: ...


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = FixedClock()

    assert clock.now() == clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
    assert clock.advance(timedelta(days=1)) == clock.now() == datetime(2030, 1, 2, tzinfo=UTC)
    clock.set(datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_a_clock_needs_a_time_zone() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - the point

    with pytest.raises(InvalidArgumentError, match="a datetime with a time zone"):
        FixedClock(naive)
    with pytest.raises(InvalidArgumentError, match="a datetime with a time zone"):
        FixedClock().set(naive)


def test_ids_count_and_are_valid() -> None:
    next_id = sequential_ids(41)
    first, second = next_id(), next_id()

    assert str(first) == "00000000-0000-7000-8000-000000000029"
    assert first.version == 7
    assert second.int - first.int == 1


def test_events_take_time_and_ids_from_what_is_controlled() -> None:
    real = current_sources()

    with controlled() as clock:
        first = NewEvent(Ticked()).metadata
        clock.advance(timedelta(seconds=1))
        second = NewEvent(Ticked()).metadata

    assert (first.timestamp, first.event_id.int & 0xFF) == (datetime(2030, 1, 1, tzinfo=UTC), 1)
    assert (second.timestamp, second.event_id.int & 0xFF) == (datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC), 2)
    assert current_sources() is real


def test_the_clock_and_the_ids_may_be_given() -> None:
    moment = datetime(2031, 5, 1, tzinfo=UTC)
    clock = FixedClock(moment)

    with controlled(clock, sequential_ids(9)) as given:
        assert given is clock
        assert NewEvent(Ticked()).metadata.event_id.int & 0xFF == 9
    with controlled(moment):
        assert NewEvent(Ticked()).metadata.timestamp == moment

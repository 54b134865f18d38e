"""Fixed time and event ids for tests."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from perdure.checks import check_count, check_function, check_instance, checked_time
from perdure.context import sources

_FIRST_ID = UUID("00000000-0000-7000-8000-000000000000").int


class FixedClock:
    """A clock that shows the same time until it is moved.

    Args:
        start: its first time, with a time zone.

    Example:
        >>> clock = FixedClock(datetime(2030, 1, 1, tzinfo=UTC))
        >>> clock.advance(timedelta(hours=1))
        datetime.datetime(2030, 1, 1, 1, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = checked_time("start", start)

    def now(self) -> datetime:
        """Return the time of the clock."""
        return self._now

    def set(self, now: datetime) -> None:
        """Set the time, which may be earlier. Raise InvalidArgumentError if it has no time zone."""
        self._now = checked_time("now", now)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock, and return its new time."""
        check_instance("by", by, timedelta)
        self._now += by
        return self._now


def sequential_ids(first: int = 1) -> Callable[[], UUID]:
    """Return a function that makes sequential event ids: valid UUIDv7s whose last digits count up.

    Example:
        >>> next_id = sequential_ids()
        >>> print(next_id(), next_id())
        00000000-0000-7000-8000-000000000001 00000000-0000-7000-8000-000000000002
    """
    check_count("first", first)
    numbers = count(first)
    return lambda: UUID(int=_FIRST_ID + next(numbers))


@contextmanager
def controlled(
    clock: FixedClock | datetime | None = None, new_id: Callable[[], UUID] | None = None
) -> Generator[FixedClock]:
    """Give events in the block the time of a fixed clock, and sequential ids.

    Args:
        clock: the clock, or its time. Default: the start of 2030.
        new_id: makes event ids. Default: `sequential_ids()`.

    Example:
        >>> with controlled(datetime(2031, 5, 1, tzinfo=UTC)) as clock:
        ...     clock.advance(timedelta(days=1)).isoformat()
        '2031-05-02T00:00:00+00:00'
    """
    if not isinstance(clock, FixedClock):
        clock = FixedClock() if clock is None else FixedClock(checked_time("clock", clock))
    if new_id is not None:
        check_function("new_id", new_id)
    with sources(new_id or sequential_ids(), clock.now):
        yield clock

"""Finds datetimes without a time zone in events: they name no moment, so events that hold them aren't stored.

Events that were stored with such values, by older code or by another client, stay readable.
"""

from __future__ import annotations

import re
from datetime import datetime

from perdure.errors import EventEncodingError
from perdure.events.leaves import leaves_of

_PERHAPS_NAIVE = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?"')
"""A datetime as msgspec encodes it, without the offset from UTC that would follow."""


def may_be_naive(data: bytes) -> bool:
    """Return whether the JSON, encoded by msgspec, may come from a datetime without a time zone."""
    return _PERHAPS_NAIVE.search(data) is not None


def refuse_naive(event_type: str, event: object) -> None:
    """Raise EventEncodingError if the event holds a datetime without a time zone, at any depth."""
    for path, value in leaves_of(event):
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise EventEncodingError(
                event_type,
                f"{path}: the datetime {value.isoformat()} has no time zone; "
                "make it with datetime.now(UTC), or give it the zone of its clock, such as .replace(tzinfo=UTC)",
            )

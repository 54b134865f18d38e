"""Sample events, and functions that the parts of the suite share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from perdure.errors import InvalidArgumentError
from perdure.events import StoredEvent, event, field, upcast


@event("perdure.conformance.noted")
class Noted:
    """The simplest event."""

    text: str = ""


@event("perdure.conformance.counted", version=3, aliases=["perdure.conformance.tallied"])
class Counted:
    """Another type, in its third version."""

    number: int


@event("perdure.conformance.tagged")
class Tagged:
    """An event with a set, which has no order."""

    tags: frozenset[str]


@upcast("perdure.conformance.counted", from_version=1)
def rename_count(data: dict[str, Any]) -> dict[str, Any]:
    """Rename the field of the first version."""
    return {"number": data["count"]}


@upcast("perdure.conformance.counted", from_version=2)
def make_it_a_number(data: dict[str, Any]) -> dict[str, Any]:
    """Convert the number, which was text in the second version."""
    return {"number": int(data["number"])}


@event("perdure.conformance.measured")
class Measured:
    """An event with values of all kinds."""

    value: float | None = None
    amount: Decimal | None = None
    at: datetime | None = None
    by: UUID | None = None
    details: dict[str, list[int]] = field(default_factory=dict)
    anything: Any = None


def notes(*texts: object) -> list[Noted]:
    """Return one event for each text."""
    return [Noted(text=str(text)) for text in texts]


def texts(events: Iterable[StoredEvent]) -> list[str]:
    """Return the texts of such events."""
    return [stored.event.text for stored in events]


def positions(events: Iterable[StoredEvent]) -> list[int]:
    """Return the positions of the events in the log."""
    return [stored.global_position for stored in events]


Call = Callable[[Any], Awaitable[Any]]
"""A call that the suite makes with each of many values."""


async def accepted(values: Sequence[Any], call: Call, error: type[Exception] = InvalidArgumentError) -> list[Any]:
    """Return the values for which the call doesn't raise the error: none if the store is correct."""
    found: list[Any] = []
    for value in values:
        try:
            await call(value)
        except error:
            continue
        found.append(value)
    return found

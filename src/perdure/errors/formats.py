"""How values are shown in messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from perdure.errors.mask import masked_text

_LOOKED_AT: Final = 2000
"""How much of a value is searched for secrets: more than is shown, as one may begin before the end of what is shown."""


def path_of(cls: type) -> str:
    """Where a class is defined."""
    return f"{cls.__module__}.{cls.__qualname__}"


def shown(value: object) -> str:
    """A value, cut where it is long; only its class where it can't be written out, as a number of 5000 digits."""
    try:
        text = masked_text(repr(value)[:_LOOKED_AT])
    except Exception:  # noqa: BLE001 - whatever it is, the message must be told
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def shown_ids(event_ids: Sequence[UUID]) -> str:
    """The first few of some ids, and how many more there are."""
    first = ", ".join(str(event_id) for event_id in event_ids[:3])
    return first if len(event_ids) <= 3 else f"{first} and {len(event_ids) - 3} more"

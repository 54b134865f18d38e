"""Formats values for messages: shortened, and without passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from perdure.errors.mask import masked_text

_SEARCHED: Final = 2000
"""How much of a value is searched for secrets: more than is shown, because a secret may be cut at the end."""


def path_of(cls: type) -> str:
    """Return the module and name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def shown(value: object) -> str:
    """Return a value as text of at most 80 characters; only its class if `repr` fails, as for a huge integer."""
    try:
        text = masked_text(repr(value)[:_SEARCHED])
    except Exception:  # noqa: BLE001 - repr may raise anything, and the message must still be built
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def shown_ids(event_ids: Sequence[UUID]) -> str:
    """Return the first three ids as text, and how many more there are."""
    first = ", ".join(str(event_id) for event_id in event_ids[:3])
    return first if len(event_ids) <= 3 else f"{first} and {len(event_ids) - 3} more"

"""The form of stream ids: ``category-id``, such as ``user-123``. The category ends at the first hyphen."""

from __future__ import annotations

import re
from typing import Final

from perdure.errors import InvalidArgumentError, InvalidStreamIdError, ReservedCategoryError
from perdure.errors.formats import shown

LONGEST_STREAM_ID: Final = 512
"""In characters."""
PROCESSES: Final = "process"
"""The category of the streams of processes, in which only Perdure writes."""

_OF_PROCESSES: Final = f"{PROCESSES}-"
_CATEGORY = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff-]+")
_STREAM_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff-]+-[^\x00-\x1f\x7f\ud800-\udfff]+")


def check_category(category: object) -> None:
    """Raise InvalidArgumentError unless it can be the category of a stream id."""
    if not isinstance(category, str) or len(category) > LONGEST_STREAM_ID or not _CATEGORY.fullmatch(category):
        raise InvalidArgumentError("category", f"{shown(category)} {_category_fault(category)}")


def check_stream_id(stream_id: object) -> None:
    """Raise InvalidStreamIdError, with the reason, unless it is a valid ``category-id``."""
    if isinstance(stream_id, str) and len(stream_id) <= LONGEST_STREAM_ID and _STREAM_ID.fullmatch(stream_id):
        return
    if not isinstance(stream_id, str):
        raise InvalidStreamIdError(stream_id, "isn't a string")
    if len(stream_id) > LONGEST_STREAM_ID:
        raise InvalidStreamIdError(stream_id, f"is longer than {LONGEST_STREAM_ID} characters")
    if not stream_id:
        raise InvalidStreamIdError(stream_id, "is empty")
    category, hyphen, rest = stream_id.partition("-")
    if not (hyphen and category and rest):
        raise InvalidStreamIdError(stream_id, "lacks a category, a hyphen or an id")
    raise InvalidStreamIdError(stream_id, "contains a control character or a lone surrogate")


def check_own_category(category: object) -> None:
    """Raise InvalidArgumentError unless it can be the category of streams that users write."""
    check_category(category)
    if category == PROCESSES:
        raise ReservedCategoryError("category", PROCESSES)


def check_own_stream(stream_id: str) -> None:
    """Raise ReservedCategoryError if only Perdure writes the stream. Its id must be valid."""
    if stream_id.startswith(_OF_PROCESSES):
        raise ReservedCategoryError("stream_id", PROCESSES, stream_id)


def _category_fault(category: object) -> str:
    if not isinstance(category, str):
        return "isn't a string"
    if not category:
        return "is empty: use a word, such as 'user'"
    if len(category) > LONGEST_STREAM_ID:
        return f"is longer than {LONGEST_STREAM_ID} characters"
    if "-" in category:
        return f"contains a hyphen, which ends the category of a stream id: write {shown(category.replace('-', '_'))}"
    return "contains a control character or a lone surrogate"

"""What makes an append a repeat: its ids are stored in its place, and under each id is the event that it has.

Stores look ids up and compare places. Where the stored text differs from the new one, they ask here. The contents are
the same if this code reads both as equal events: an alias, an upcaster, a default, or the order of a set makes no
difference. Metadata isn't compared, because a repeat may come later and from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from perdure.commit import AppendResult, Commit, EncodedEvent
from perdure.errors import EventDifference, EventEncodingError, EventIdReuseError
from perdure.events import EventType, StoredEvent, registry


class StoredAppend(NamedTuple):
    """An append whose ids are stored in its place, but not with the same text."""

    result: AppendResult
    """Its first result, if it is a repeat."""
    events: Sequence[StoredEvent]


def first_result(commit: Commit, found: AppendResult | StoredAppend) -> AppendResult:
    """Return the result of an append, or its first result. Raise as `check_contents` does."""
    if isinstance(found, AppendResult):
        return found
    check_contents([commit], found.events)
    return found.result


def check_contents(commits: Sequence[Commit], stored: Iterable[StoredEvent]) -> None:
    """Raise EventIdReuseError unless the stored events have the contents of the new ones with their ids.

    Under ids that follow from those of commands or appends, the first content is kept, so it isn't compared.
    """
    there = {one.event_id: one for one in stored}
    for commit in commits:
        for new in commit.events:
            if not new.is_derived:
                _check(new, there[new.event_id], commits)


def must_compare(commits: Iterable[Commit]) -> bool:
    """Return whether an event of these commits has an id under which another content is refused."""
    return any(not new.is_derived for commit in commits for new in commit.events)


def _check(new: EncodedEvent, stored: StoredEvent, commits: Sequence[Commit]) -> None:
    reason: Literal["type", "content", "unreadable"] | None
    cause: Exception | None = None
    try:
        reason = _difference(new, stored)
    except Exception as error:  # noqa: BLE001 - upcasters and comparisons are the user's code, which may raise anything
        reason, cause = "unreadable", error
    if reason is not None:
        difference = EventDifference(new.event_id, new.event_type, stored.event_type, reason)
        event_ids = [event_id for commit in commits for event_id in commit.event_ids]
        raise EventIdReuseError(commits[0].stream_id, event_ids, difference) from cause


def _difference(new: EncodedEvent, stored: StoredEvent) -> Literal["type", "content"] | None:
    if _text(new) == _text(stored):
        return None
    kind = registry.by_name(new.event_type)
    if kind is None or registry.by_name(stored.event_type) is not kind:
        return "content" if new.event_type == stored.event_type else "type"
    if stored.event_version > kind.version:
        return None  # a later version of this code has written it: only that one can compare them
    return None if _is_same(kind, _read(new, stored), stored.decode()) else "content"


def _text(event: EncodedEvent | StoredEvent) -> tuple[str, int, str]:
    return event.event_type, event.event_version, event.event_data


def _read(new: EncodedEvent, stored: StoredEvent) -> object:
    """Return the new event as it would be read in the place of the stored one."""
    return new.stored(stored.stream_id, stored.stream_version, stored.global_position, stored.recorded_at).decode()


def _is_same(kind: EventType, one: object, other: object) -> bool:
    # Objects of some classes are equal only to themselves: then their texts count.
    if one == other:
        return True
    with suppress(EventEncodingError):  # the stored one has a value that isn't stored any more: the new one can't
        return kind.codec.encode(one) == kind.codec.encode(other)
    return False

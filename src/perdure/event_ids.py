"""Event ids that follow from an id of the caller's: every attempt at the same thing gives its events the same ids."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from uuid import UUID

from perdure.checks import checked_id


def derived_id(source: str, *place: object) -> UUID:
    """Return the id of the event at a place below a source: a hash of them, as a UUID of version 8.

    If the source is a UUID of version 7, the id begins with its time. So such ids are neighbours in the index, as the
    ids of other events are.

    Args:
        source: an id of the caller's, without NUL.
        place: what tells the events of the source apart. Its parts hold no NUL, and another number of them is another
            place: that keeps the ids of commands and of appends apart.
    """
    time = _time_of(source)
    digest = hashlib.sha256("\0".join([source, *map(str, place)]).encode()).digest()
    value = int.from_bytes((time + digest[len(time) :])[:16], "big")
    version_and_variant = (0xF << 76) | (0x3 << 62)
    return UUID(int=value & ~version_and_variant | (0x8 << 76) | (0x2 << 62))


def _time_of(text: str) -> bytes:
    """Return the milliseconds that a UUID of version 7 begins with; nothing if the text isn't one."""
    with suppress(ValueError):
        found = UUID(text)
        if found.version == 7:
            return found.bytes[:6]
    return b""


def firing_id(process: str, key: str, timer: str, set_by: UUID) -> UUID:
    """Return the id of the event that a timer of a process fires. A timer that an event has set fires once.

    The function of the same name in the database makes the same ids.

    Args:
        process: the name of the process.
        key: the key of its instance, as JSON.
        timer: the name of the timer.
        set_by: the id of the event that set it.
    """
    return derived_id(str(set_by), "timer", process, key, timer)


class AppendId:
    """The id of one append to one stream. The ids of its events there follow from it.

    Args:
        append_id: a UUID, or any text, such as what a client sends as ``Idempotency-Key``.
        stream_id: the stream that is appended to.

    Raises:
        InvalidArgumentError: the id is no UUID and no text, is empty, or can't be stored.
    """

    __slots__ = ("_stream_id", "text")

    def __init__(self, append_id: UUID | str, stream_id: str) -> None:
        self.text = checked_id("append_id", append_id)
        self._stream_id = stream_id

    def event_id(self, number: int) -> UUID:
        """Return the id of the append's event with that number: 0, 1, 2 ..."""
        return derived_id(self.text, "append", self._stream_id, number)

    def event_ids(self, count: int) -> list[UUID]:
        """Return the ids of the first events of the append."""
        return [self.event_id(number) for number in range(count)]

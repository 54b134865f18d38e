"""The event that the checker appends, and a read model of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection

CATEGORY: Final = "checked"
"""The category of the workload's streams."""


_TEXT = re.compile(r"([0-9a-f]{8})\.\d+ \d+ x*")


def text_of(writer: str, number: int, padding: int) -> str:
    """Return the unique content of an event, given its writer and number."""
    return f"{writer} {number} {'x' * padding}"


def workload_of(text: str) -> str | None:
    """Return the name of the workload that made the content of an event; None if none did."""
    found = _TEXT.fullmatch(text)
    return found and found[1]


@event("perdure.checker.checked")
class Checked:
    """An event of the workload."""

    text: str


@dataclass
class TallyRow:
    """The tally of a stream.

    Attributes:
        stream_id: The stream.
        events: The number of its events.
        stream_version: The version of the last event.
        global_position: The position of the last event.
        fingerprint: A hash of all contents in their order.
    """

    stream_id: str
    events: int = 0
    stream_version: int = 0
    global_position: int = 0
    fingerprint: int = 0


class Tally(TableProjection[TallyRow], table="perdure_checker_tally", key="stream_id", version=1):
    """A read model that shows whether an event was skipped, repeated or reordered."""

    def keys(self, event: object, at: StoredEvent) -> list[str]:  # noqa: ARG002 - every event counts
        """Return the stream of the event."""
        return [at.stream_id]

    @handles
    def checked(self, event: Checked, row: TallyRow | None, at: StoredEvent) -> TallyRow:
        """Count the event."""
        row = row or TallyRow(at.stream_id)
        row.events += 1
        row.stream_version = at.stream_version
        row.global_position = at.global_position
        for byte in event.text.encode():
            row.fingerprint = (row.fingerprint * 257 + byte + 1) % (2**61 - 1)
        return row

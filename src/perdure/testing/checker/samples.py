"""What the checker appends, and a read model of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection

CATEGORY: Final = "checked"
"""Of the streams that the workload appends to."""


_TEXT = re.compile(r"([0-9a-f]{8})\.\d+ \d+ x*")


def text_of(writer: str, number: int, padding: int) -> str:
    """The content of the event with this number that a writer appends: no other event has it."""
    return f"{writer} {number} {'x' * padding}"


def workload_of(text: str) -> str | None:
    """The name of the workload whose writer made up the content of an event; None if none did."""
    found = _TEXT.fullmatch(text)
    return found and found[1]


@event("perdure.checker.checked")
class Checked:
    """An event of the workload."""

    text: str


@dataclass
class TallyRow:
    """What is known of a stream.

    Attributes:
        stream_id: The stream.
        events: How many events it has.
        stream_version: The version of the last.
        global_position: The place of the last.
        fingerprint: Depends on all their contents, and on their order.
    """

    stream_id: str
    events: int = 0
    stream_version: int = 0
    global_position: int = 0
    fingerprint: int = 0


class Tally(TableProjection[TallyRow], table="perdure_checker_tally", key="stream_id", version=1):
    """A read model that tells whether an event was missed, came twice, or came in another order."""

    def keys(self, event: object, at: StoredEvent) -> list[str]:  # noqa: ARG002 - every event counts
        """The stream, whatever the event."""
        return [at.stream_id]

    @handles
    def checked(self, event: Checked, row: TallyRow | None, at: StoredEvent) -> TallyRow:
        """Count it."""
        row = row or TallyRow(at.stream_id)
        row.events += 1
        row.stream_version = at.stream_version
        row.global_position = at.global_position
        for byte in event.text.encode():
            row.fingerprint = (row.fingerprint * 257 + byte + 1) % (2**61 - 1)
        return row

"""A projection of notes, each the last text that was noted."""

from dataclasses import dataclass
from typing import Any

from perdure.events import event, handles
from perdure.projection import TableProjection


@event("test.projection.noted")
class Noted:
    note_id: str
    text: str = ""
    number: Any = None


@dataclass
class Note:
    note_id: str
    text: str = ""


class Notes(TableProjection[Note], table="notes", key="note_id"):
    @handles
    def noted(self, event: Noted, row: Note | None) -> Note:
        return Note(event.note_id, event.text)

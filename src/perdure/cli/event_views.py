"""Events as the commands show them: as data in JSON, as rows on a screen."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from perdure.causation import CausedEvent
from perdure.cli.screen import ATTENTION, QUIET, Screen, second
from perdure.cli.table import Cell, TextColumn
from perdure.errors import PerdureError
from perdure.events import StoredEvent, registry

EVENT_COLUMNS = (
    TextColumn("position", right=True),
    TextColumn("recorded at", whole=True),
    TextColumn("stream"),
    TextColumn("version", right=True),
    TextColumn("type"),
    TextColumn("data"),
)


class EventView(msgspec.Struct):
    """An event in the output of ``--json``, with the data as stored."""

    global_position: int
    stream_id: str
    stream_version: int
    event_id: UUID
    event_type: str
    event_version: int
    timestamp: datetime
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    user_id: str | None
    headers: dict[str, str]
    data: msgspec.Raw

    @classmethod
    def of(cls, stored: StoredEvent) -> EventView:
        """Return the view of a stored event."""
        metadata = stored.metadata
        return cls(
            global_position=stored.global_position,
            stream_id=stored.stream_id,
            stream_version=stored.stream_version,
            event_id=stored.event_id,
            event_type=stored.event_type,
            event_version=stored.event_version,
            timestamp=metadata.timestamp,
            recorded_at=stored.recorded_at,
            correlation_id=metadata.correlation_id,
            causation_id=metadata.causation_id,
            user_id=metadata.user_id,
            headers=dict(metadata.headers),
            data=msgspec.Raw(stored.event_data.encode()),
        )


class DecodedView(msgspec.Struct):
    """An event as this code decodes it."""

    event_class: str | None
    """The class of the event type; None if this code has none."""
    current_version: int | None
    """The version of that class."""
    data: dict[str, Any] | None
    """The data, upcast to that version; None if the upcast failed."""
    problem: str | None
    """Why the event can't be decoded; None if it can."""

    @classmethod
    def of(cls, stored: StoredEvent) -> DecodedView:
        """Decode a stored event."""
        kind = registry.by_name(stored.event_type)
        name = None if kind is None else f"{kind.cls.__module__}.{kind.cls.__qualname__}"
        data, problem = None, None
        try:
            data = stored.upcast_data
            _ = stored.event
        except PerdureError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the constructor of an event may raise anything
            problem = repr(error)
        return cls(name, None if kind is None else kind.version, data, problem)


class CausedView(msgspec.Struct):
    """An event and its effects in the output of ``--json``."""

    event: EventView
    effects: list[CausedView]

    @classmethod
    def of(cls, caused: CausedEvent) -> CausedView:
        """Return the view of an event and its effects."""
        top = CausedView(EventView.of(caused.stored), [])
        waiting = [(caused, top)]
        while waiting:
            one, view = waiting.pop()
            view.effects = [CausedView(EventView.of(effect.stored), []) for effect in one.effects]
            waiting += zip(one.effects, view.effects, strict=True)
        return top


def event_row(stored: StoredEvent) -> list[str | Cell]:
    """Return an event as a row for `EVENT_COLUMNS`."""
    return [
        str(stored.global_position),
        second(stored.recorded_at),
        stored.stream_id,
        str(stored.stream_version),
        type_cell(stored),
        stored.event_data,
    ]


def show_tree(screen: Screen, trees: list[CausedEvent], marked: UUID) -> None:
    """Print trees of events, each effect below its cause."""
    for tree in trees:
        for depth, stored in tree.walk():
            here = stored.event_id == marked
            screen.cells(
                [
                    Cell("→ " if here else "  ", ATTENTION),
                    Cell("  " * depth),
                    type_cell(stored),
                    Cell(f"  {stored.stream_id}", ""),
                    Cell(f"  position {stored.global_position}", QUIET),
                ]
            )


def type_cell(stored: StoredEvent) -> Cell:
    """Return the type of an event, in colour if this code has its class."""
    return Cell(stored.event_type, "cyan" if registry.by_name(stored.event_type) else "")

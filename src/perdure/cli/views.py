"""Events as the commands show them: for programs as data, for people as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from perdure.causation import CausedEvent
from perdure.cli.screen import ATTENTION, QUIET, Screen, second
from perdure.cli.table import Cell, Column
from perdure.errors import PerdureError
from perdure.events import StoredEvent, registry

EVENT_COLUMNS = (
    Column("position", right=True),
    Column("recorded at", whole=True),
    Column("stream"),
    Column("version", right=True),
    Column("type"),
    Column("data"),
)


class EventView(msgspec.Struct):
    """An event as ``--json`` shows it. The data is what is stored."""

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
        """The view of an event."""
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


class Reading(msgspec.Struct):
    """How this code reads an event."""

    event_class: str | None
    """The class that stands for it; None when there is none here."""
    current_version: int | None
    """The version of that class."""
    data: dict[str, Any] | None
    """The data in that version; None when it can't be brought there."""
    problem: str | None
    """Why it can't be read; None when it can."""

    @classmethod
    def of(cls, stored: StoredEvent) -> Reading:
        """How the event is read."""
        kind = registry.by_name(stored.event_type)
        name = None if kind is None else f"{kind.cls.__module__}.{kind.cls.__qualname__}"
        data, problem = None, None
        try:
            data = stored.upcast_data
            _ = stored.event
        except PerdureError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a class may raise anything when it is made
            problem = repr(error)
        return cls(name, None if kind is None else kind.version, data, problem)


class CausedView(msgspec.Struct):
    """An event and what it caused, as ``--json`` shows it."""

    event: EventView
    effects: list[CausedView]

    @classmethod
    def of(cls, caused: CausedEvent) -> CausedView:
        """The view of an event and of its effects."""
        top = CausedView(EventView.of(caused.stored), [])
        waiting = [(caused, top)]
        while waiting:
            one, view = waiting.pop()
            view.effects = [CausedView(EventView.of(effect.stored), []) for effect in one.effects]
            waiting += zip(one.effects, view.effects, strict=True)
        return top


def event_row(stored: StoredEvent) -> list[str | Cell]:
    """An event as a row of a table of `EVENT_COLUMNS`."""
    return [
        str(stored.global_position),
        second(stored.recorded_at),
        stored.stream_id,
        str(stored.stream_version),
        type_cell(stored),
        stored.event_data,
    ]


def show_tree(screen: Screen, trees: list[CausedEvent], marked: UUID) -> None:
    """Print trees of events, each beneath the one that caused it."""
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
    """The type of an event; in colour where a class here bears it."""
    return Cell(stored.event_type, "cyan" if registry.by_name(stored.event_type) else "")

"""The history and the log, put in order for judgement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from perdure.events import StoredEvent
from perdure.testing.checker.history import (
    Acknowledged,
    Attempted,
    Doubted,
    Ended,
    Followed,
    Part,
    Refused,
    Seen,
    Stopped,
    Written,
    files_in,
    records_in,
)
from perdure.testing.checker.samples import workload_of

CONFLICTS = frozenset({"OptimisticConcurrencyError", "EventIdReuseError"})
"""Refusals that are final: whatever was in doubt before isn't written."""

End = Acknowledged | Refused | Doubted | None
"""How an attempt ended; None when its process was killed."""


@dataclass
class Append:
    """An append with all its attempts."""

    writer: str
    parts: tuple[Part, ...]
    acknowledged_before: int
    """The highest position that this process knew when it was first attempted: its own come after."""
    ends: list[End] = field(default_factory=list)

    @property
    def events(self) -> Iterator[tuple[Part, Written]]:
        """All its events, each with its part."""
        return ((part, event) for part in self.parts for event in part.events)

    @property
    def answers(self) -> list[Acknowledged]:
        """What the store said, as often as it said it."""
        return [end for end in self.ends if isinstance(end, Acknowledged)]

    @property
    def is_refused(self) -> bool:
        """Whether the store said that nothing is written, and can't have meant one attempt only."""
        return any(isinstance(end, Refused) and end.error in CONFLICTS for end in self.ends) or all(
            isinstance(end, Refused) for end in self.ends
        )

    @property
    def was_in_doubt(self) -> bool:
        """Whether an attempt ended without an answer."""
        return any(end is None or isinstance(end, Doubted) for end in self.ends)

    def __str__(self) -> str:
        where = ", ".join(f"{part.stream_id!r} at {part.expected_version}" for part in self.parts)
        return f"{self.parts[0].events[0].event_id} of {self.writer} to {where}"


@dataclass
class Follower:
    """What a follower saw, over all its lives."""

    name: str
    category: str | None = None
    from_position: int = 0
    seen: list[Seen] = field(default_factory=list)
    stopped: Stopped | None = None
    """What ended its last life, if it was an error."""
    end: int | None = None
    """The last event that it must have seen; None: the last of the log."""


class Evidence:
    """The history in a folder."""

    def __init__(self, folder: Path | str) -> None:
        self.appends: dict[UUID, Append] = {}
        self.followers: list[Follower] = []
        self.writers: set[str] = set()
        self._workloads: set[str] = set()
        self.began: list[float] = []
        """When each attempt began."""
        self.answered: list[float] = []
        """When something was acknowledged."""
        for path in files_in(folder):
            self._take_in(path)

    def _take_in(self, path: Path) -> None:
        under_way: dict[int, tuple[Append, int]] = {}
        follower: Follower | None = None
        highest = 0
        for record in records_in(path):
            if isinstance(record, Attempted):
                under_way[record.number] = self._begin(record, highest)
            elif isinstance(record, Followed):
                if follower is None:
                    follower = Follower(path.stem, record.category, record.from_position)
                    self.followers.append(follower)
                follower.stopped = follower.end = None
            elif isinstance(record, Seen | Ended | Stopped):
                assert follower is not None  # noqa: S101 - its file begins with a line that says so
                if isinstance(record, Seen):
                    follower.seen.append(record)
                elif isinstance(record, Ended):
                    follower.end = record.global_position
                else:
                    follower.stopped = record
            else:
                append, number = under_way.pop(record.number)
                append.ends[number] = record
                if isinstance(record, Acknowledged):
                    self.answered.append(record.at)
                    highest = max(
                        highest, *(position for place in record.places for position in place.global_positions)
                    )

    def _begin(self, attempted: Attempted, highest: int) -> tuple[Append, int]:
        self.writers.add(attempted.writer)
        self._workloads.add(attempted.writer.partition(".")[0])
        self.began.append(attempted.at)
        append = self.appends.setdefault(attempted.first_id, Append(attempted.writer, attempted.parts, highest))
        append.ends.append(None)
        return append, len(append.ends) - 1

    def is_of_another(self, entry: LogEntry) -> bool:
        """Whether an event was appended by a workload whose history is kept elsewhere."""
        workload = None if entry.text is None else workload_of(entry.text)
        return workload is not None and workload not in self._workloads

    @property
    def seconds(self) -> float:
        """From the first attempt to the last."""
        return max(self.began) - min(self.began) if self.began else 0.0

    @property
    def write_gap(self) -> float:
        """The longest time without an acknowledgement."""
        if not self.began:
            return 0.0
        times = sorted([min(self.began), *self.answered, max(self.began)])
        return max(after - before for before, after in pairwise(times))


class LogEntry:
    """An event as it stands in the log."""

    __slots__ = ("event_id", "global_position", "stream_id", "stream_version", "text")

    def __init__(self, stored: StoredEvent, text: str | None) -> None:
        self.stream_id = stored.stream_id
        self.stream_version = stored.stream_version
        self.global_position = stored.global_position
        self.event_id = stored.event_id
        self.text = text
        """The content; None for an event that isn't of the workload."""

    def __str__(self) -> str:
        return f"{self.event_id} at {self.global_position} (version {self.stream_version} of {self.stream_id!r})"


def entries_of(log: Iterable[StoredEvent], event_type: str) -> list[LogEntry]:
    """The log, with the contents of the workload's own events."""
    return [LogEntry(stored, _text(stored) if stored.event_type == event_type else None) for stored in log]


def _text(stored: StoredEvent) -> str:
    event: Any = stored.event
    return str(event.text)

"""The operations of a history: appends with all their attempts, and what followers saw. And the entries of the log."""

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
    EventSeen,
    FollowerFailed,
    FollowerStarted,
    NewContent,
    Refused,
    StreamPart,
    Unknown,
    WorkloadEnded,
    files_in,
    records_in,
)
from perdure.testing.checker.samples import workload_of

CONFLICTS = frozenset({"OptimisticConcurrencyError", "EventIdReuseError"})
"""Errors that are final: no earlier attempt was written, even if its outcome was unknown."""

AttemptResult = Acknowledged | Refused | Unknown | None
"""How an attempt ended; None if its process was killed."""


@dataclass
class AppendOperation:
    """An append and all its attempts."""

    writer: str
    parts: tuple[StreamPart, ...]
    acknowledged_before: int
    """The highest position that its process knew before the first attempt. Its own positions must be higher."""
    ends: list[AttemptResult] = field(default_factory=list)

    @property
    def events(self) -> Iterator[tuple[StreamPart, NewContent]]:
        """Its events, each with its part."""
        return ((part, event) for part in self.parts for event in part.events)

    @property
    def answers(self) -> list[Acknowledged]:
        """All acknowledgements by the store."""
        return [end for end in self.ends if isinstance(end, Acknowledged)]

    @property
    def is_refused(self) -> bool:
        """Whether the store said that nothing is written, for all attempts."""
        return any(isinstance(end, Refused) and end.error in CONFLICTS for end in self.ends) or all(
            isinstance(end, Refused) for end in self.ends
        )

    @property
    def was_unknown(self) -> bool:
        """Whether the outcome of an attempt was unknown."""
        return any(end is None or isinstance(end, Unknown) for end in self.ends)

    def __str__(self) -> str:
        where = ", ".join(f"{part.stream_id!r} at {part.expected_version}" for part in self.parts)
        return f"{self.parts[0].events[0].event_id} of {self.writer} to {where}"


@dataclass
class ObservedFollower:
    """The events that a follower saw, across all its restarts."""

    name: str
    category: str | None = None
    from_position: int = 0
    seen: list[EventSeen] = field(default_factory=list)
    stopped: FollowerFailed | None = None
    """The error that ended its last run, if any."""
    end: int | None = None
    """The position of the last event that it had to see; None for the end of the log."""


class History:
    """The operations recorded in the files of a folder."""

    def __init__(self, folder: Path | str) -> None:
        self.appends: dict[UUID, AppendOperation] = {}
        self.followers: list[ObservedFollower] = []
        self.writers: set[str] = set()
        self._workloads: set[str] = set()
        self.began: list[float] = []
        """The start times of all attempts."""
        self.answered: list[float] = []
        """The times of all acknowledgements."""
        for path in files_in(folder):
            self._read_file(path)

    def _read_file(self, path: Path) -> None:
        under_way: dict[int, tuple[AppendOperation, int]] = {}
        follower: ObservedFollower | None = None
        highest = 0
        for record in records_in(path):
            if isinstance(record, Attempted):
                under_way[record.number] = self._begin(record, highest)
            elif isinstance(record, FollowerStarted):
                if follower is None:
                    follower = ObservedFollower(path.stem, record.category, record.from_position)
                    self.followers.append(follower)
                follower.stopped = follower.end = None
            elif isinstance(record, EventSeen | WorkloadEnded | FollowerFailed):
                assert follower is not None  # noqa: S101 - the first line of its file starts it
                if isinstance(record, EventSeen):
                    follower.seen.append(record)
                elif isinstance(record, WorkloadEnded):
                    follower.end = record.global_position
                else:
                    follower.stopped = record
            else:
                append, number = under_way.pop(record.number)
                append.ends[number] = record
                if isinstance(record, Acknowledged):
                    self.answered.append(record.at)
                    highest = max(
                        highest, *(position for place in record.results for position in place.global_positions)
                    )

    def _begin(self, attempted: Attempted, highest: int) -> tuple[AppendOperation, int]:
        self.writers.add(attempted.writer)
        self._workloads.add(attempted.writer.partition(".")[0])
        self.began.append(attempted.at)
        append = self.appends.setdefault(
            attempted.first_id, AppendOperation(attempted.writer, attempted.parts, highest)
        )
        append.ends.append(None)
        return append, len(append.ends) - 1

    def is_from_another_workload(self, entry: LogEntry) -> bool:
        """Return whether an event is from a workload whose history is in another folder."""
        workload = None if entry.text is None else workload_of(entry.text)
        return workload is not None and workload not in self._workloads

    @property
    def seconds(self) -> float:
        """The seconds from the first attempt to the last."""
        return max(self.began) - min(self.began) if self.began else 0.0

    @property
    def write_gap(self) -> float:
        """The longest time without an acknowledgement, in seconds."""
        if not self.began:
            return 0.0
        times = sorted([min(self.began), *self.answered, max(self.began)])
        return max(after - before for before, after in pairwise(times))


class LogEntry:
    """An event in the log."""

    __slots__ = ("event_id", "global_position", "stream_id", "stream_version", "text")

    def __init__(self, stored: StoredEvent, text: str | None) -> None:
        self.stream_id = stored.stream_id
        self.stream_version = stored.stream_version
        self.global_position = stored.global_position
        self.event_id = stored.event_id
        self.text = text
        """The content; None for an event of another program."""

    def __str__(self) -> str:
        return f"{self.event_id} at {self.global_position} (version {self.stream_version} of {self.stream_id!r})"


def entries_of(log: Iterable[StoredEvent], event_type: str) -> list[LogEntry]:
    """Return the entries of the log, with the contents of workload events."""
    return [LogEntry(stored, _text(stored) if stored.event_type == event_type else None) for stored in log]


def _text(stored: StoredEvent) -> str:
    event: Any = stored.event
    return str(event.text)

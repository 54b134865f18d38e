"""The history of a workload: a record per line, in files that survive a kill of their process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import msgspec

SUFFIX: Final = ".jsonl"


class NewContent(msgspec.Struct, frozen=True):
    """The id and content of an event to append.

    Attributes:
        event_id: Its id.
        text: Its content, which is unique.
    """

    event_id: UUID
    text: str


class StreamPart(msgspec.Struct, frozen=True):
    """The part of an append for one stream.

    Attributes:
        stream_id: The stream.
        expected_version: The expected version; None for ANY.
        events: The events.
    """

    stream_id: str
    expected_version: int | None
    events: tuple[NewContent, ...]


class StreamResult(msgspec.Struct, frozen=True):
    """The version and positions that the store returned for a part, see `AppendResult`."""

    stream_version: int
    global_positions: tuple[int, ...]


class Attempted(msgspec.Struct, frozen=True, tag="attempted"):
    """A writer starts an attempt to append.

    Attributes:
        number: Its number in the file, which the record of its result repeats.
        writer: The writer.
        parts: The parts, all or none of which are written.
        at: The time, by the monotonic clock.
    """

    number: int
    writer: str
    parts: tuple[StreamPart, ...]
    at: float = msgspec.field(default_factory=time.monotonic)

    @property
    def first_id(self) -> UUID:
        """The id of the first event, which identifies the append and its repeats."""
        return self.parts[0].events[0].event_id


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The store said that the append is written."""

    number: int
    results: tuple[StreamResult, ...]
    at: float = msgspec.field(default_factory=time.monotonic)


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The store said that nothing is written.

    Attributes:
        number: The number of the attempt.
        error: The class of the error.
        actual_version: The version of the stream, after a conflict.
    """

    number: int
    error: str
    actual_version: int | None = None
    at: float = msgspec.field(default_factory=time.monotonic)


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """The outcome of an attempt is unknown.

    Attributes:
        number: The number of the attempt.
        error: The class of the error.
        is_typed: Whether it is a `PerdureError`, as it should be.
        reason: The message of the error.
    """

    number: int
    error: str
    is_typed: bool
    reason: str = ""
    at: float = msgspec.field(default_factory=time.monotonic)


class FollowerStarted(msgspec.Struct, frozen=True, tag="follower_started"):
    """A follower starts after its checkpoint."""

    category: str | None
    from_position: int


class EventSeen(msgspec.Struct, frozen=True, tag="event_seen"):
    """A follower received an event, which is now its checkpoint."""

    global_position: int
    event_id: UUID


class WorkloadEnded(msgspec.Struct, frozen=True, tag="workload_ended"):
    """The workload ended. This is the last position that the follower must receive."""

    global_position: int


class FollowerFailed(msgspec.Struct, frozen=True, tag="follower_failed"):
    """An error ended a follower: its class, whether it is a `PerdureError`, and its message."""

    error: str
    is_typed: bool
    reason: str


Record = Attempted | Acknowledged | Refused | Unknown | FollowerStarted | EventSeen | WorkloadEnded | FollowerFailed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder[Record](Record).decode


class HistoryFile:
    """A file of the history, which one process at a time appends to. A kill loses at most the line being written.

    Args:
        folder: the folder of the history; created if missing.
        name: the name of the file. An existing file is continued.
    """

    def __init__(self, folder: Path | str, name: str) -> None:
        self.name = name
        self.path = Path(folder) / f"{name}{SUFFIX}"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            whole = self.path.read_bytes()
            os.truncate(self.path, whole.rfind(b"\n") + 1)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, record: Record) -> None:
        """Append a record. The operating system has it when this returns, so it survives a kill of the process."""
        os.write(self._file, _encode(record) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)


def records_in(path: Path) -> Iterator[Record]:
    """Yield the records of a history file, except a last line that is incomplete."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)


def files_in(folder: Path | str) -> list[Path]:
    """Return the files of a history."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))

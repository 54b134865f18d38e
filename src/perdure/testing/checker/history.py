"""What a workload did and saw, line by line, in files that survive the death of their process."""

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


class Written(msgspec.Struct, frozen=True):
    """An event of an attempt.

    Attributes:
        event_id: Its id.
        text: Its content, which no other event has.
    """

    event_id: UUID
    text: str


class Part(msgspec.Struct, frozen=True):
    """What an attempt would append to one stream.

    Attributes:
        stream_id: The stream.
        expected_version: The number that was expected; None for ANY.
        events: What is appended.
    """

    stream_id: str
    expected_version: int | None
    events: tuple[Written, ...]


class Place(msgspec.Struct, frozen=True):
    """Where the events of a part are, as the store answered: see `AppendResult`."""

    stream_version: int
    global_positions: tuple[int, ...]


class Attempted(msgspec.Struct, frozen=True, tag="attempted"):
    """A writer is about to append.

    Attributes:
        number: Its number in the file, which the line about its end bears too.
        writer: Who.
        parts: What: several parts are to be written all or nothing.
        at: When, by the clock of the machine that never goes back.
    """

    number: int
    writer: str
    parts: tuple[Part, ...]
    at: float = msgspec.field(default_factory=time.monotonic)

    @property
    def first_id(self) -> UUID:
        """Tells an append from all others; its repeats have the same."""
        return self.parts[0].events[0].event_id


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The store said that all of it is written, and where."""

    number: int
    places: tuple[Place, ...]
    at: float = msgspec.field(default_factory=time.monotonic)


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The store said that nothing is written.

    Attributes:
        number: Of the attempt.
        error: The name of the error's class.
        actual_version: Of the stream, when it was a conflict.
    """

    number: int
    error: str
    actual_version: int | None = None
    at: float = msgspec.field(default_factory=time.monotonic)


class Doubted(msgspec.Struct, frozen=True, tag="doubted"):
    """Nobody knows whether it is written.

    Attributes:
        number: Of the attempt.
        error: The name of the error's class.
        is_typed: Whether it is an error of Perdure's, as it should be.
        reason: What the error says.
    """

    number: int
    error: str
    is_typed: bool
    reason: str = ""
    at: float = msgspec.field(default_factory=time.monotonic)


class Followed(msgspec.Struct, frozen=True, tag="followed"):
    """A follower begins, or begins again after its checkpoint."""

    category: str | None
    from_position: int


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """A follower was given an event; this is its checkpoint now."""

    global_position: int
    event_id: UUID


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The workload is over, and this is the last event that the follower must be given."""

    global_position: int


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """A follower was ended by an error: its class, whether it is one of Perdure's, and what it says."""

    error: str
    is_typed: bool
    reason: str


Record = Attempted | Acknowledged | Refused | Doubted | Followed | Seen | Ended | Stopped

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder[Record](Record).decode


class HistoryFile:
    """A file of the history, to which one process at a time adds lines. A kill costs the line that it cuts, no more.

    Args:
        folder: where the files of the history are; made if need be.
        name: whose lines these are. A file that is there is continued.
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
        """Add a line. It is the system's when this returns, so that a kill of the process doesn't take it away."""
        os.write(self._file, _encode(record) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)


def records_in(path: Path) -> Iterator[Record]:
    """The lines of a file of the history, without one that was cut."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)


def files_in(folder: Path | str) -> list[Path]:
    """The files of a history."""
    return sorted(Path(folder).glob(f"*{SUFFIX}"))

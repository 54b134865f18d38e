"""A run as a document: written as JSON, read again to be shown."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.machine import Machine
from benchmarks.outcome import Measured, Series


class Document(msgspec.Struct):
    """All that is known of a run."""

    measured_at: datetime
    machine: Machine
    command: str
    series: list[Series]

    @property
    def measured(self) -> Measured:
        return Measured(self.series)


def document(machine: Machine, command: str, measured: Measured) -> Document:
    """What was measured now."""
    return Document(datetime.now(UTC).replace(microsecond=0), machine, command, measured.series)


def write(path: Path, what: Document) -> None:
    """Write it, for eyes as well."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(what), indent=1) + b"\n")

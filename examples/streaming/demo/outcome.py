"""The outcome of a run of the demo."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from examples.streaming.demo.recomputation import Row
from examples.streaming.demo.verification import Check
from examples.streaming.user import User


@dataclass(frozen=True, kw_only=True)
class Outcome:
    events: int
    """The number of appended events."""
    seconds: float
    """Seconds from the first append until both read models were up to date."""
    timings: Mapping[str, float]
    """Seconds by step."""
    conflicts_retried: int
    titles: list[Row]
    profiles: list[Row]
    user: User
    """An aggregate, loaded from its events."""
    checks: list[Check]
    peak_rss_mb: float

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds

    @property
    def verified(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def last_event_at(self) -> datetime:
        """The time of the latest event. Every event changes a row of a title or a user."""
        last: datetime = max(row["last_updated"] for row in self.titles)
        return last


def peak_rss_mb() -> float:
    """Return the peak memory of this process, in MB of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, getrusage also counts the program that the process ran before Python.
        peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

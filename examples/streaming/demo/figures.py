"""The figures of the live display."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    seconds: float
    events: int
    """The number of events appended so far."""
    total: int
    conflicts: int
    """The number of conflicts retried so far."""
    lags: Mapping[str, int]
    """The number of positions that each projection is behind the log."""

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def done(self) -> int:
        """The number of events that both read models have processed."""
        return max(0, self.events - max(self.lags.values(), default=0))

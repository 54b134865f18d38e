"""How far the demo is: what the live display shows."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    seconds: float
    events: int
    """Appended so far."""
    total: int
    conflicts: int
    """Met and retried so far."""
    lags: Mapping[str, int]
    """By projection: how many positions of the log it is behind."""

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def done(self) -> int:
        """How many events were appended and reached both read models."""
        return max(0, self.events - max(self.lags.values(), default=0))

"""What was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from benchmarks.workloads.workload import Sample


class Series(msgspec.Struct):
    """The runs of one system in one case."""

    workload: str
    case: str
    system: str
    samples: list[Sample] = []

    @property
    def value(self) -> float:
        """The median."""
        return median([sample.value for sample in self.samples])

    @property
    def least(self) -> float:
        return min([sample.value for sample in self.samples])

    @property
    def most(self) -> float:
        return max([sample.value for sample in self.samples])

    def middle(self, name: str) -> float | None:
        """The median of one of the other figures; None where it isn't known."""
        known = [value for sample in self.samples if (value := getattr(sample, name)) is not None]
        return median(known) if known else None


class Measured(msgspec.Struct):
    """Everything that a run measured."""

    series: list[Series]

    def find(self, workload: str, case: str, system: str) -> Series | None:
        """One series, if it was measured."""
        found = [one for one in self.series if (one.workload, one.case, one.system) == (workload, case, system)]
        return found[0] if found else None

    def cases(self, workload: str) -> Sequence[str]:
        """The cases of a workload that were measured, in order."""
        return list(dict.fromkeys(one.case for one in self.series if one.workload == workload))

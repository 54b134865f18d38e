"""The report of a check."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Final, NamedTuple

import msgspec

_EXAMPLES: Final = 3


class Fault(Enum):
    """The kinds of violations."""

    LOST = "acknowledged, but not in the log"
    MOVED = "not at the position that the store returned"
    CHANGED = "not what was appended"
    DOUBLED = "in the log more than once"
    HALVED = "an append is incomplete, or not in one piece"
    UNEXPECTED = "in the log, though the store said that nothing was written"
    GAP = "the versions of a stream aren't 1, 2, 3 ... in the order of the log"
    RACE = "more than one winner for an expected version, or another version than expected"
    REPEAT = "a repeat with the same ids got another result"
    ORDER = "before an event that was acknowledged before it was begun"
    SKIPPED = "a follower missed it"
    SEEN_TWICE = "a follower saw it more than once"
    DISORDER = "a follower saw it after a later one"
    PHANTOM = "a follower saw what isn't in the log"
    BEHIND = "a follower didn't reach the end of the log"
    READ_MODEL = "a row differs from a fresh fold of the log"
    UNTYPED = "an error that isn't a PerdureError"


class Violation(NamedTuple):
    """A violation of an invariant."""

    fault: Fault
    example: str
    """The event, stream or row."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check. `str()` formats it for people.

    Attributes:
        writers: The number of writers.
        appends: The number of appends, without repeats.
        acknowledged: The number of events that the store acknowledged.
        refused: The number of refused attempts.
        unknown: The number of attempts with an unknown outcome.
        resolved: The number of appends whose unknown outcome was resolved by a repeat with the same ids.
        repeats: The number of repeats of appends that had been acknowledged already.
        events: The number of workload events in the log.
        others: The number of events of workloads with another history. They aren't checked.
        seen: The number of events that all followers received.
        seconds: The time from the first attempt to the last.
        write_gap: The longest time without an acknowledgement, in seconds.
        violations: The violations; empty if the store kept its promises.
    """

    writers: int
    appends: int
    acknowledged: int
    refused: int
    unknown: int
    resolved: int
    repeats: int
    events: int
    others: int
    seen: int
    seconds: float
    write_gap: float
    violations: tuple[Violation, ...]

    @property
    def counts(self) -> Counter[Fault]:
        """The number of violations of each kind."""
        return Counter(violation.fault for violation in self.violations)

    def __str__(self) -> str:
        figures = (
            f"{self.writers} writers, {self.seconds:.1f} s: {self.appends} appends, {self.acknowledged} events "
            f"acknowledged, {self.refused} refused, {self.unknown} unknown ({self.resolved} resolved), "
            f"longest gap {self.write_gap * 1000:.0f} ms, {self.seen} events seen"
        )
        lines = [figures]
        if self.others:
            lines.append(f"{self.others} events of workloads with another history weren't checked")
        for fault, count in self.counts.items():
            lines.append(f"{fault.name} {count}: {fault.value}")
            examples = [violation.example for violation in self.violations if violation.fault is fault]
            lines += [f"    {example}" for example in examples[:_EXAMPLES]]
        return "\n".join(lines if self.violations else [*lines, "no violations"])

"""What a check found."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Final, NamedTuple

import msgspec

_EXAMPLES: Final = 3


class Fault(Enum):
    """A way in which a store can break its word."""

    LOST = "acknowledged, but not in the log"
    MOVED = "not where the store said that it is"
    CHANGED = "not what was appended"
    DOUBLED = "in the log more than once"
    HALVED = "only a part of an append is there, or it is torn"
    UNEXPECTED = "in the log, though the store said that nothing was written"
    GAP = "the versions of a stream aren't 1, 2, 3 ... in the order of the log"
    RACE = "more than one winner for an expected version, or another version than expected"
    REPEAT = "a repeat with the same ids was answered in another way"
    ORDER = "stands before what was acknowledged before it was begun"
    SKIPPED = "a follower missed it"
    SEEN_TWICE = "a follower saw it more than once"
    DISORDER = "a follower saw it after a later one"
    PHANTOM = "a follower saw what isn't in the log"
    BEHIND = "a follower didn't get to the end"
    READ_MODEL = "a row isn't what a fresh fold of the log makes it"
    UNTYPED = "an error that isn't one of Perdure's"


class Violation(NamedTuple):
    """A broken promise."""

    fault: Fault
    example: str
    """Which event, stream or row."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. `str()` of it is for people.

    Attributes:
        writers: How many took part.
        appends: How many appends were attempted, repeats not counted.
        acknowledged: How many events the store said are written.
        refused: How many attempts were refused.
        doubted: How many attempts ended without an answer.
        resolved: How many appends got their answer by a repeat with the same ids.
        repeats: How many appends were repeated although they had been answered.
        events: How many events of the workload the log holds.
        others: How many events the log holds of workloads whose history is kept elsewhere. They aren't judged.
        seen: How many events the followers were given, all together.
        seconds: From the first attempt to the last.
        write_gap: The longest time in which nothing was acknowledged, in seconds.
        violations: The broken promises; empty if all is well.
    """

    writers: int
    appends: int
    acknowledged: int
    refused: int
    doubted: int
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
        """How often each promise was broken."""
        return Counter(violation.fault for violation in self.violations)

    def __str__(self) -> str:
        figures = (
            f"{self.writers} writers, {self.seconds:.1f} s: {self.appends} appends, {self.acknowledged} events "
            f"acknowledged, {self.refused} refused, {self.doubted} in doubt ({self.resolved} resolved), "
            f"longest gap {self.write_gap * 1000:.0f} ms, {self.seen} events seen"
        )
        lines = [figures]
        if self.others:
            lines.append(f"{self.others} events of workloads whose history is kept elsewhere weren't judged")
        for fault, count in self.counts.items():
            lines.append(f"{fault.name} {count}: {fault.value}")
            examples = [violation.example for violation in self.violations if violation.fault is fault]
            lines += [f"    {example}" for example in examples[:_EXAMPLES]]
        return "\n".join(lines if self.violations else [*lines, "no violations"])

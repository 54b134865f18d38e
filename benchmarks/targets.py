"""What Perdure has set itself, each as a ratio within one run, or as a figure."""

from statistics import median
from typing import Literal, NamedTuple

from benchmarks.outcome import Measured, Series
from benchmarks.workloads.append import NO_REPEATS, REPEATS
from benchmarks.workloads.growth import APPEND, LOAD, PAGE
from benchmarks.workloads.relay import CLIENT, RELAY

BEST_PEER = "the best peer"
_PEERS = ("eventsourcing", "umadb")

Verdict = Literal["met", "not met", "not measured"]


class Target(NamedTuple):
    """A figure of Perdure's, held against one of another system, or of its own."""

    workload: str
    case: str
    """Which case; empty where there is only one."""
    against: str = ""
    """A system, or nothing, when the figure itself counts."""
    at_least: float | None = None
    at_most: float | None = None
    goal: float | None = None
    other_case: str = ""
    """The case of `against`, when it is another."""
    figure: str = "value"

    @property
    def wording(self) -> str:
        """What is asked for."""
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        if not self.against:
            return f"{self.figure} {bound}".removeprefix("value ")
        return f"{bound} x {self.against}" + (f" at {self.other_case}" if self.other_case else "")


_FLAT = 1 / 1.3

TARGETS = (
    Target("W1", "1 caller", "raw", at_least=0.5, goal=0.7),
    Target("W1", "64 callers", "raw", at_least=2),
    Target("W1", "256 callers", "raw", at_least=3),
    Target("W1", "256 callers", "raw unnest", at_least=0.55, goal=0.7),
    Target("W1", "64 callers", "eventsourcing", at_least=10),
    Target("W1r", f"256 callers, {REPEATS}", "perdure", at_least=0.8, other_case=f"256 callers, {NO_REPEATS}"),
    Target("W2", "64 callers", "raw unnest", at_least=0.8),
    Target("W2b", "16 callers", "raw", at_least=0.9),
    Target("W3", "100 events", "raw", at_least=0.6),
    Target("W3", "1,000 events", "raw", at_least=0.6),
    Target("W3", "10,000 events, snapshot", "perdure", at_least=_FLAT, other_case="100 events, snapshot"),
    Target("W4", "", "raw", at_least=0.8),
    Target("W4", "", BEST_PEER, at_least=1.5),
    Target("W5", "", "raw", at_least=1),
    Target("W5", "", BEST_PEER, at_least=10),
    Target("W6", "same process", "raw notify", at_most=1.25),
    Target("W6", "between processes", "raw notify", at_most=1.5),
    Target("W6", "same process", at_most=50, figure="p99"),
    Target("W6", "between processes", at_most=50, figure="p99"),
    Target("W6c", "same process", "raw notify", at_most=1.5),
    Target("W6c", "same process", at_most=50, figure="p99"),
    *[
        Target(
            "W6b", f"{callers} callers, {how}", "perdure", at_least=0.9, other_case=f"{callers} callers, not followed"
        )
        for callers in (4, 64)
        for how in ("listened to", "followed")
    ],
    Target("W7", "", BEST_PEER, at_least=10),
    *[
        target
        for kind in ("numbers", "numbers in 100 dicts")
        for many in [f"10,000 {kind}, 100 commands"]
        for target in (
            Target("W7b", many, "perdure", at_most=10, other_case=f"10,000 {kind}, 1 command"),
            Target("W7b", many, at_most=50, figure="block"),
        )
    ],
    *[
        Target("W8", f"{what}, of {size}", "perdure", at_least=_FLAT, other_case=f"{what}, of 10,000")
        for size in ("1,000,000", "5,000,000")
        for what in (APPEND, LOAD, PAGE)
    ],
    Target("W11r", RELAY, "perdure", at_least=0.8, other_case=CLIENT),
    Target("W10", "1 segment, 1 process", at_least=20_000, goal=40_000),
)


class Judged(NamedTuple):
    """A target, and what became of it."""

    target: Target
    case: str
    found: float | None
    least: float | None
    most: float | None
    verdict: Verdict
    is_goal_met: bool | None


def judge(measured: Measured) -> list[Judged]:
    """Hold what was measured against the targets, of all workloads that were run."""
    return [
        _judged(target, case, measured)
        for target in TARGETS
        for case in measured.cases(target.workload)
        if case == (target.case or case)
    ]


def _judged(target: Target, case: str, measured: Measured) -> Judged:
    ours = measured.find(target.workload, case, "perdure")
    ratios = [] if ours is None else _figures(target, case, ours, measured)
    if not ratios:
        return Judged(target, case, None, None, None, "not measured", None)
    found = median(ratios)
    if target.at_least is not None:
        is_met = found >= target.at_least
        is_goal_met = None if target.goal is None else found >= target.goal
    else:
        is_met = target.at_most is not None and found <= target.at_most
        is_goal_met = None
    return Judged(target, case, found, min(ratios), max(ratios), "met" if is_met else "not met", is_goal_met)


def _figures(target: Target, case: str, ours: Series, measured: Measured) -> list[float]:
    if not target.against:
        return [value for sample in ours.samples if (value := getattr(sample, target.figure)) is not None]
    other = _other(target, case, measured)
    return [] if other is None else ratios(ours, other)


def _other(target: Target, case: str, measured: Measured) -> Series | None:
    if target.against != BEST_PEER:
        return measured.find(target.workload, target.other_case or case, target.against)
    peers = [found for peer in _PEERS if (found := measured.find(target.workload, case, peer))]
    return max(peers, key=lambda one: one.value, default=None)


def ratios(ours: Series, other: Series) -> list[float]:
    """Turn by turn: what disturbs the machine disturbs both."""
    return [a.value / b.value for a, b in zip(ours.samples, other.samples, strict=True)]

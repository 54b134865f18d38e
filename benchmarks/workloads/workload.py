"""What a workload is: it runs its cases on one open system, and verifies what that wrote or returned."""

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import groupby
from statistics import quantiles
from typing import ClassVar, NamedTuple

from benchmarks.facts import Append, Stored
from benchmarks.processor import ProcessorTime, processor_time
from benchmarks.sizes import Sizes
from benchmarks.systems.system import Place, System
from examples.streaming.events import ContentWatched


class VerificationError(Exception):
    """A system did something wrong, so no figure of this run counts."""


class Case(NamedTuple):
    """One thing that is measured, by one number."""

    name: str
    number: int = 0
    variant: str = ""


class Sample(NamedTuple):
    """One run."""

    value: float
    """In the workload's unit."""
    client: float | None = None
    """Processor time of this process for each operation, in microseconds."""
    server: float | None = None
    """That of the server's processes."""
    p50: float | None = None
    """Of how long an operation took, in milliseconds."""
    p99: float | None = None
    memory: float | None = None
    """The most that a process took, in megabytes."""
    block: float | None = None
    """The longest time in which nothing else in the event loop ran, in milliseconds."""


class Workload(ABC):
    """A workload on one system.

    Args:
        system: open, on a place of its own.
        sizes: how much to do.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = "events/s"
    is_rate: ClassVar[bool] = True
    """Whether more is better."""
    compares_cases: ClassVar[bool] = False
    """Whether it is cases that are held against each other: then they take turns, too."""
    is_long: ClassVar[bool] = False
    """Whether a run takes so long that each case is run once only."""

    def __init__(self, system: System, sizes: Sizes) -> None:
        self.system = system
        self.sizes = sizes

    @classmethod
    @abstractmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        """What is measured."""

    def offers(self, case: Case) -> bool:  # noqa: ARG002 - for those that don't offer all to every system
        """Whether the system takes part in that case."""
        return True

    async def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Write what the runs read. It isn't timed."""

    @abstractmethod
    async def run(self, case: Case, run: int) -> Sample:
        """Measure once. Runs have numbers of their own; what they write must differ.

        Raises:
            VerificationError: what came back isn't what was written.
        """

    async def verify(self) -> None:  # noqa: B027 - those that write nothing verify each run
        """See that all that the runs wrote is there, once, in order.

        Raises:
            VerificationError: it isn't.
        """


class Meter:
    """Takes the time of what happens inside `measured`."""

    seconds = 0.0
    spent = ProcessorTime(0.0, 0.0)

    def rate(self, count: int, latencies: Sequence[float] = ()) -> Sample:
        """That many operations in that time."""
        client, server = (1e6 * seconds / count for seconds in self.spent)
        p50, p99 = percentiles(latencies)
        return Sample(count / self.seconds, client, server, p50, p99)


@contextmanager
def measured(place: Place) -> Generator[Meter]:
    """Measure what happens inside."""
    meter = Meter()
    before, began = processor_time(place.server_pid), time.perf_counter()
    yield meter
    meter.seconds = time.perf_counter() - began
    meter.spent = processor_time(place.server_pid).since(before)


def percentiles(seconds: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The median and the 99th percentile, in milliseconds."""
    if len(seconds) < 2:
        return None, None
    cuts = quantiles(seconds, n=100, method="inclusive")
    return 1e3 * cuts[49], 1e3 * cuts[98]


def expect(what: str, found: object, wanted: object) -> None:
    """Raise VerificationError unless they are the same."""
    if found != wanted:
        raise VerificationError(f"{what}: {_short(found)}, not {_short(wanted)}")


def expect_contents(stored: Iterable[Stored], acknowledged: Iterable[Append], *, in_order: bool = True) -> None:
    """Raise VerificationError unless exactly what was acknowledged is there, in the order of the acknowledgements."""
    wanted: dict[str, list[ContentWatched]] = {}
    for append in acknowledged:
        wanted.setdefault(append.stream_id, []).extend(append.events)
    found: dict[str, list[ContentWatched]] = {}
    for stream_id, group in groupby(stored, key=lambda one: one.stream_id):
        in_stream = list(group)
        versions = [one.stream_version for one in in_stream]
        expect(f"versions of {stream_id!r}", versions, list(range(1, len(versions) + 1)))
        found[stream_id] = [one.event for one in in_stream]
    if not in_order:
        for events in (*wanted.values(), *found.values()):
            events.sort(key=lambda event: event.user_id)
    expect("number of streams", len(found), len(wanted))
    for stream_id, events in wanted.items():
        expect(f"events of {stream_id!r}", found.get(stream_id), events)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"

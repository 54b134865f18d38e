"""W1, W1r, W2 and W2b: appending to new streams by many callers at once."""

import time
from collections.abc import Iterator
from typing import ClassVar
from uuid import uuid4

from benchmarks.facts import Append, Identified, watched
from benchmarks.sizes import Sizes
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect_contents, measured

NO_REPEATS = "no repeats"
REPEATS = "5 % repeats"
_EACH = 19
"""After so many appends comes a repeat: one in twenty."""


class Appending(Workload):
    """Each caller appends to one new stream after the other, until the time is over."""

    events: ClassVar[int] = 1
    """How many events each append holds."""

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._acknowledged: list[Append] = []

    async def run(self, case: Case, run: int) -> Sample:
        before = len(self._acknowledged)
        latencies: list[float] = []
        count = self.system.callers(case.number, self.events)
        end = time.perf_counter() + self.sizes.seconds
        callers = [self._caller(f"{case.number}.{run}.{caller}", end, latencies) for caller in range(count)]
        with measured(self.system.place) as meter:
            await self._append(callers)
        return meter.rate((len(self._acknowledged) - before) * self.events, latencies)

    async def _append(self, callers: list[Iterator[Append]]) -> None:
        await self.system.append(callers)

    def _caller(self, name: str, end: float, latencies: list[float]) -> Iterator[Append]:
        number = 0
        began = time.perf_counter()
        while number == 0 or began < end:
            stream_id = f"content-{self.key}.{name}.{number}"
            wanted = Append(stream_id, 0, [watched(stream_id, number * self.events + i) for i in range(self.events)])
            yield wanted
            # A caller takes the next one after the acknowledgement of this one.
            self._acknowledged.append(wanted)
            number += 1
            began, then = time.perf_counter(), began
            latencies.append(began - then)

    async def verify(self) -> None:
        expect_contents(await self.system.contents(), self._acknowledged)


class AppendingOne(Appending):
    key = "W1"
    title = "Append 1 event to a new stream"

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case(f"{callers} caller{'s' if callers > 1 else ''}", callers) for callers in sizes.callers]


class AppendingTen(Appending):
    key = "W2"
    title = "Append 10 events to a new stream, at once"
    events = 10

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case("64 callers", min(64, max(sizes.callers)))]


class AppendingHeaders(AppendingTen):
    key = "W2b"
    title = "Append 10 events with 2 headers each to a new stream, at once"

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case("16 callers", min(16, max(sizes.callers)))]

    async def _append(self, callers: list[Iterator[Append]]) -> None:
        await self.system.append_with_headers(callers)


class AppendingRepeats(Appending):
    """Callers name the ids of their events, and expect no version. Some of their appends repeat the one before."""

    key = "W1r"
    title = "Append 1 event to a new stream, and some of them again"
    compares_cases = True

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        callers = min(256, max(sizes.callers))
        return [Case(f"{callers} callers, {name}", callers, name) for name in (NO_REPEATS, REPEATS)]

    async def run(self, case: Case, run: int) -> Sample:
        latencies: list[float] = []
        self._made = 0
        # A store of its own for each run: one that has seen repeats looks for more of them for a while.
        async with Perdure(self.system.place) as system:
            end = time.perf_counter() + self.sizes.seconds
            callers = [
                self._with_repeats(self._caller(f"{run}.{caller}", end, latencies), has_repeats=case.variant == REPEATS)
                for caller in range(case.number)
            ]
            with measured(self.system.place) as meter:
                await system.append_identified(callers)
        return meter.rate(self._made, latencies)

    def _with_repeats(self, appends: Iterator[Append], *, has_repeats: bool) -> Iterator[Identified]:
        for number, append in enumerate(appends, 1):
            identified = Identified(append, uuid4())
            self._made += 1
            yield identified
            if has_repeats and number % _EACH == 0:
                self._made += 1
                yield identified

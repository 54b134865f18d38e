"""W3: loading an aggregate, handlers included."""

import time

from benchmarks.facts import Append, Totals, totals, watched
from benchmarks.sizes import Sizes
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect, measured

_AT_ONCE = 100
_WITH_SNAPSHOT = "snapshot"
_CACHED = "cached"


class Loading(Workload):
    """One caller loads the same aggregate again and again, until the time is over."""

    key = "W3"
    title = "Load an aggregate"
    unit = "loads/s"
    compares_cases = True

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._wanted: dict[str, Totals] = {}

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        plain = [Case(f"{length:,} events", length) for length in sizes.streams]
        return plain + [
            Case(f"{length:,} events, {variant}", length, variant)
            for variant in (_WITH_SNAPSHOT, _CACHED)
            for length in sizes.streams
        ]

    def offers(self, case: Case) -> bool:
        return not case.variant or isinstance(self.system, Perdure)

    async def prepare(self) -> None:
        for length in self.sizes.streams:
            for variant in ("", _WITH_SNAPSHOT):  # the cached ones are those without snapshots
                stream_id = _stream_id(length, variant)
                events = [watched(stream_id, number) for number in range(length)]
                parts = [Append(stream_id, at, events[at : at + _AT_ONCE]) for at in range(0, length, _AT_ONCE)]
                await self.system.append([iter(parts)])
                if variant and isinstance(self.system, Perdure):
                    events.append(watched(stream_id, length))
                    await self.system.take_snapshot(stream_id, events[-1])
                self._wanted[stream_id] = totals(events)

    async def run(self, case: Case, run: int) -> Sample:  # noqa: ARG002 - nothing is written
        stream_id = _stream_id(case.number, "" if case.variant == _CACHED else case.variant)
        latencies: list[float] = []
        end = (began := time.perf_counter()) + self.sizes.seconds
        with measured(self.system.place) as meter:
            while not latencies or began < end:
                found = await self._load(stream_id, case.variant)
                expect(f"what became of {stream_id!r}", found, self._wanted[stream_id])
                began, then = time.perf_counter(), began
                latencies.append(began - then)
        return meter.rate(len(latencies), latencies)

    async def _load(self, stream_id: str, variant: str) -> Totals:
        if variant == _CACHED and isinstance(self.system, Perdure):
            return await self.system.load_cached(stream_id)
        return await self.system.load(stream_id, snapshot=variant == _WITH_SNAPSHOT)


def _stream_id(length: int, variant: str) -> str:
    return f"content-{length}{variant}"

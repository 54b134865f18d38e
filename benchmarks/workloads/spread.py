"""W10: a projection of many events, cut into segments that processes share."""

import time

from benchmarks.facts import totals_by_title
from benchmarks.processor import processor_time
from benchmarks.projector_process import projectors
from benchmarks.sizes import Sizes
from benchmarks.systems.system import System
from benchmarks.workloads.catch_up import fill, make_log
from benchmarks.workloads.workload import Case, Sample, Workload, expect

_PROCESSES, _SEGMENTS = (1, 2, 4), (1, 2, 4, 8)


class Spreading(Workload):
    """As in W5, over more events and keys."""

    key = "W10"
    title = "A projection in segments, shared by processes"
    is_long = True

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._events = make_log(sizes.scale, sizes.scale_keys)

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:  # noqa: ARG003 - they are the same for every size
        return [
            Case(f"{_count(segments, 'segment')}, {_count(processes, 'process')}", processes, str(segments))
            for processes in _PROCESSES
            for segments in _SEGMENTS
            if segments >= processes
        ]

    async def prepare(self) -> None:
        await fill(self.system, self._events)

    async def run(self, case: Case, run: int) -> Sample:
        name, place = f"views_{run}", self.system.place
        async with projectors(case.number, place.url, name, case.variant, str(len(self._events))) as found:
            before, began = processor_time(place.server_pid).server, time.perf_counter()
            told = await found.run()
            seconds = time.perf_counter() - began
            server = processor_time(place.server_pid).server - before
        expect(f"rows of {name}", await self.system.rows(name), totals_by_title(self._events))
        return Sample(
            len(self._events) / seconds,
            client=1e6 * sum([one.processor_seconds for one in told]) / len(self._events),
            server=1e6 * server / len(self._events),
            memory=max([one.memory for one in told]),
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"

"""W7: many tasks that change one aggregate."""

from collections.abc import Iterator

from benchmarks.facts import Append, watched
from benchmarks.sizes import Sizes
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect_contents, measured


class Contending(Workload):
    """Each task runs some commands on the same new aggregate: read it, decide, append, and again on conflict."""

    key = "W7"
    title = "Commands on one aggregate"
    unit = "commands/s"

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._acknowledged: list[Append] = []

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case(f"16 tasks, {sizes.commands} commands each", 16)]

    async def run(self, case: Case, run: int) -> Sample:
        tasks = [self._task(f"content-{run}", task * self.sizes.commands) for task in range(case.number)]
        with measured(self.system.place) as meter:
            await self.system.change(tasks)
        return meter.rate(case.number * self.sizes.commands)

    def _task(self, stream_id: str, first: int) -> Iterator[Append]:
        for number in range(first, first + self.sizes.commands):
            wanted = Append(stream_id, 0, [watched(stream_id, number)])
            yield wanted
            self._acknowledged.append(wanted)

    async def verify(self) -> None:
        expect_contents(await self.system.contents(), self._acknowledged, in_order=False)

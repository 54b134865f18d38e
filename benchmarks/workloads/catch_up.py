"""W4 and W5: reading the whole log, typed; and keeping a row for each title while doing so."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import ClassVar

from benchmarks.facts import Append, totals, totals_by_title, watched
from benchmarks.sizes import Sizes
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect, expect_contents, measured
from examples.streaming.events import ContentWatched

_EVENTS_PER_STREAM = 20
_CALLERS = 16


class OnLog(Workload):
    """Works on a log of views: the streams are those of viewers, in which titles come as they come."""

    is_limited: ClassVar[bool] = False
    """Whether the log is shorter for systems that would take too long."""

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        limit = system.log_limit if self.is_limited else None
        self.events = make_log(min(sizes.log, limit or sizes.log), sizes.keys)

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case(f"{sizes.log:,} events", sizes.log)]

    async def prepare(self) -> None:
        await fill(self.system, self.events)


class CatchingUp(OnLog):
    key = "W4"
    title = "Catch up on the log, typed"

    async def run(self, case: Case, run: int) -> Sample:  # noqa: ARG002 - nothing is written
        with measured(self.system.place) as meter:
            found = await self.system.catch_up(len(self.events))
        expect("what was read", found, totals(self.events))
        return meter.rate(len(self.events))


class Projecting(OnLog):
    key = "W5"
    title = "Keep a row for each title, exactly once"
    is_limited = True

    async def run(self, case: Case, run: int) -> Sample:  # noqa: ARG002 - there is one
        name = f"views_{run}"
        with measured(self.system.place) as meter:
            await self.system.project(name, len(self.events))
        expect(f"rows of {name}", await self.system.rows(name), totals_by_title(self.events))
        return meter.rate(len(self.events))


def make_log(length: int, keys: int) -> list[ContentWatched]:
    """So many views of so many titles, the same in each run."""
    random = Random(length)
    return [watched(f"title-{random.randrange(keys)}", number) for number in range(length)]


async def fill(system: System, events: Sequence[ContentWatched]) -> None:
    """Append events to the streams of viewers."""
    appends = [
        Append(f"viewer-{at}", 0, list(events[at : at + _EVENTS_PER_STREAM]))
        for at in range(0, len(events), _EVENTS_PER_STREAM)
    ]
    shared: Iterator[Append] = iter(appends)
    await system.append([_taking(shared) for _ in range(_CALLERS)])
    expect_contents(await system.contents(), appends)


def _taking(shared: Iterator[Append]) -> Iterator[Append]:
    yield from shared

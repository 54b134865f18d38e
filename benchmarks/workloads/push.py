"""W6: how soon an appended event is handled or shown, and whether handling holds appends up."""

import asyncio
import time

from benchmarks.facts import Append, totals_by_title, watched
from benchmarks.follower_process import Handled, follow_in_process
from benchmarks.sizes import Sizes
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.system import System
from benchmarks.workloads.append import Appending
from benchmarks.workloads.workload import (
    Case,
    Sample,
    VerificationError,
    Workload,
    expect,
    expect_contents,
    percentiles,
)
from examples.streaming.events import ContentWatched

_BETWEEN = "between processes"
_NOT_FOLLOWED, _LISTENED_TO, _FOLLOWED = _VARIANTS = ("not followed", "listened to", "followed")
_CALLERS = (4, 64)


class Pushing(Workload):
    """Appends at a steady pace, from the moment before the append to the moment when it is handled."""

    key = "W6"
    title = "From the append to the handler"
    unit = "ms"
    is_rate = False

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._acknowledged: list[Append] = []

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case("same process", sizes.paced), Case(_BETWEEN, sizes.paced, _BETWEEN)]

    async def run(self, case: Case, run: int) -> Sample:
        stream_id = f"content-{case.variant and 'between'}{run}"
        if case.variant == _BETWEEN:
            async with follow_in_process(self.system) as elsewhere:
                await self._send(stream_id)
                handled = await elsewhere.handled(self.sizes.paced)
        else:
            handled = Handled()
            async with self.system.follow(handled.handle):
                await self._send(stream_id)
                await handled.wait_for(self.sizes.paced)
        expect("what was handled", handled.numbers, list(range(self.sizes.paced)))
        p50, p99 = percentiles(handled.latencies)
        if p50 is None:
            raise VerificationError("nothing was handled")
        return Sample(p50, p50=p50, p99=p99)

    async def _send(self, stream_id: str) -> None:
        began = time.monotonic()
        for number in range(self.sizes.paced):
            await asyncio.sleep(began + number / self.sizes.pace - time.monotonic())
            sent = str(time.monotonic_ns())
            event = ContentWatched(
                content_id=stream_id, user_id=sent, watch_duration_seconds=number, completion_percentage=50.0
            )
            wanted = Append(stream_id, number, [event])
            await self.system.append([iter([wanted])])
            self._acknowledged.append(wanted)

    async def verify(self) -> None:
        expect_contents(await self.system.contents(), self._acknowledged)


class Showing(Workload):
    """Commands at a steady pace, from the moment before the command to the moment when its row is known to be there."""

    key = "W6c"
    title = "From the command to the row that shows it"
    unit = "ms"
    is_rate = False

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case("same process", sizes.paced)]

    async def run(self, case: Case, run: int) -> Sample:
        name, latencies = f"shown_{run}", list[float]()
        events = [watched(f"title{run}x{number}", number) for number in range(case.number)]
        async with self.system.shown(name) as show:
            began = time.monotonic()
            for number, event in enumerate(events):
                await asyncio.sleep(began + number / self.sizes.pace - time.monotonic())
                asked = time.perf_counter()
                await show(Append(f"content-{event.content_id}", 0, [event]))
                latencies.append(time.perf_counter() - asked)
        if self.system.shows_rows:
            wanted, rows = totals_by_title(events), await self.system.rows(name)
            expect(f"rows of {name}", {title: rows.get(title) for title in wanted}, wanted)
        p50, p99 = percentiles(latencies)
        if p50 is None:
            raise VerificationError("nothing was shown")
        return Sample(p50, p50=p50, p99=p99)


class AppendingFollowed(Appending):
    """Appending as in W1: without a follower, with a process that is woken but finds no event for it, and with one that
    handles each event."""

    key = "W6b"
    title = "Append 1 event, while another process handles them"
    compares_cases = True

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        numbers = sorted({min(callers, max(sizes.callers)) for callers in _CALLERS})
        return [Case(f"{number} callers, {variant}", number, variant) for number in numbers for variant in _VARIANTS]

    def offers(self, case: Case) -> bool:
        return case.variant != _LISTENED_TO or isinstance(self.system, Perdure)

    async def run(self, case: Case, run: int) -> Sample:
        if case.variant == _NOT_FOLLOWED:
            return await super().run(case, run)
        async with follow_in_process(self.system, in_vain=case.variant == _LISTENED_TO):
            return await super().run(case, run)

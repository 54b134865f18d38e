"""Runs workloads: all systems take turns, run by run, so that what disturbs the machine disturbs all of them."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from benchmarks.outcome import Series
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Workload

Tell = Callable[[str], None]


async def measure(
    workload: type[Workload], systems: Sequence[type[System]], sizes: Sizes, server: Server, tell: Tell
) -> list[Series]:
    """Measure a workload on those of the systems that take part in it.

    Raises:
        VerificationError: a system lost something, or returned something wrong.
    """
    measured: list[Series] = []
    async with AsyncExitStack() as stack:
        taking_part: list[Workload] = []
        for system in [one for one in systems if workload.key in one.workloads]:
            place = await stack.enter_async_context(system.new_place(server))
            taking_part.append(workload(await stack.enter_async_context(system(place)), sizes))
        for one in taking_part:
            await one.prepare()
        numbers = iter(range(1_000_000))
        cases = workload.cases(sizes)
        turns, warming_up = (1, 0) if workload.is_long else (sizes.repeats + 1, 1)
        for group in [cases] if workload.compares_cases else [[case] for case in cases]:
            series = {
                (case, one): Series(workload.key, case.name, one.system.name)
                for case in group
                for one in taking_part
                if one.offers(case)
            }
            for turn in range(turns):
                for (case, one), found in series.items():
                    sample = await one.run(case, next(numbers))
                    if turn >= warming_up:
                        found.samples.append(sample)
            measured += series.values()
            for case in group:
                tell(f"{workload.key}, {case.name}")
        for one in taking_part:
            await one.verify()
    return measured

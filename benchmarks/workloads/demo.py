"""W9: the demo of the reference application, the whole process."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL

from benchmarks.processor import most_memory
from benchmarks.sizes import Sizes
from benchmarks.workloads.workload import Case, Sample, VerificationError, Workload

DATA_VARIABLE = "PERDURE_BENCH_DATA"
_LOOK = 0.05


class Demonstrating(Workload):
    """Runs ``python -m examples.streaming``, which verifies every row of its read models."""

    key = "W9"
    title = "The demo, from start to end"
    unit = "s"
    is_rate = False
    is_long = True

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:  # noqa: ARG003 - it has its own size
        return [Case("MovieLens" if os.environ.get(DATA_VARIABLE) else "made-up data")]

    async def run(self, case: Case, run: int) -> Sample:  # noqa: ARG002 - there is one
        data = os.environ.get(DATA_VARIABLE)
        arguments = ("-m", "examples.streaming", *(("--data", data) if data else ()))
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=DEVNULL)
        ended = asyncio.create_task(process.wait())
        memory = 0.0
        while not ended.done():
            memory = max(memory, most_memory(process.pid))
            await asyncio.wait((ended,), timeout=_LOOK)
        if process.returncode:
            raise VerificationError(f"the demo ended with status {process.returncode}")
        return Sample(time.perf_counter() - began, memory=memory)

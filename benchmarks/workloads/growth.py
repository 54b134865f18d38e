"""W8: whether a store becomes slower as it grows."""

import time
from collections.abc import Iterator
from hashlib import md5
from random import Random

import asyncpg

from benchmarks.facts import EVENT_TYPE, Append, Totals, watched
from benchmarks.sizes import Sizes
from benchmarks.systems.contents import SQL, count_in
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect, measured
from perdure.stores.postgres.sql_files import Statements

_AT_ONCE = 50_000
_PER_STREAM = 20
_CALLERS = 64
_PAGE = 500
APPEND, LOAD, PAGE = "append 1 event", "load 20 events", f"read a page of {_PAGE}"


class Growing(Workload):
    """Fills a store, step by step, and measures at each step. Streams have names that spread over the whole index."""

    key = "W8"
    title = "A store that grows"
    unit = "operations/s"

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        self._random = Random(1)
        self._filled = 0
        self._appended = 0

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [Case(f"{what}, of {size:,}", size, what) for size in sizes.growth for what in (APPEND, LOAD, PAGE)]

    async def run(self, case: Case, run: int) -> Sample:
        await self._grow_to(case.number)
        if case.variant == APPEND:
            return await self._append(run)
        return await (self._load() if case.variant == LOAD else self._read())

    async def _grow_to(self, size: int) -> None:
        if self._filled >= size:
            return
        sql = Statements(SQL / "growth", table=self.system.table)
        connection = await asyncpg.connect(self.system.place.url)
        try:
            while self._filled < size:
                last = min(self._filled + _AT_ONCE, size)
                await connection.execute(sql["grow"], self._filled, last - 1, EVENT_TYPE)
                self._filled = last
            await connection.execute(sql["settle"])
        finally:
            await connection.close()

    async def _append(self, run: int) -> Sample:
        latencies: list[float] = []
        end = time.perf_counter() + self.sizes.seconds
        with measured(self.system.place) as meter:
            await self.system.append([self._caller(f"{run}.{caller}", end, latencies) for caller in range(_CALLERS)])
        self._appended += len(latencies)
        return meter.rate(len(latencies), latencies)

    def _caller(self, name: str, end: float, latencies: list[float]) -> Iterator[Append]:
        number = 0
        while (began := time.perf_counter()) < end or number == 0:
            stream_id = f"content-{_hashed(f'{name}.{number}')}"
            yield Append(stream_id, 0, [watched(stream_id, number)])
            number += 1
            latencies.append(time.perf_counter() - began)

    async def _load(self) -> Sample:
        count = 0
        end = time.perf_counter() + self.sizes.seconds
        with measured(self.system.place) as meter:
            while not count or time.perf_counter() < end:
                number = self._random.randrange(self._filled // _PER_STREAM)
                expect("views", (await self.system.load(f"content-{_hashed(str(number))}")).views, _PER_STREAM)
                count += 1
        return meter.rate(count)

    async def _read(self) -> Sample:
        count = 0
        end = time.perf_counter() + self.sizes.seconds
        with measured(self.system.place) as meter:
            while not count or time.perf_counter() < end:
                start = self._random.randrange(self._filled - _PAGE)
                found = await self.system.catch_up(_PAGE, start)
                expect("events of a page", Totals(found.views), Totals(_PAGE))
                count += 1
        return meter.rate(count)

    async def verify(self) -> None:
        expect(
            "number of events", await count_in(self.system.place.url, self.system.table), self._filled + self._appended
        )


def _hashed(name: str) -> str:
    return md5(name.encode()).hexdigest()

"""W7b: commands on one aggregate whose state is large, and how long they keep everything else waiting."""

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar

from benchmarks.sizes import Sizes
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.system import System
from benchmarks.workloads.workload import Case, Sample, Workload, expect, measured
from perdure import AggregateRoot, Repository, command, event, field, handles

_AT_ONCE = 500
_COMMANDS = 100


@event("benchmark.number_kept")
class NumberKept:
    group: str
    name: str
    number: int


class Flat(AggregateRoot, category="flat"):
    """Keeps numbers in one dict."""

    numbers: dict[str, int] = field(default_factory=dict)

    @command
    def keep(self, group: str, name: str, number: int) -> None:
        self.raise_event(NumberKept(group=group, name=name, number=number))

    @handles
    def _kept(self, event: NumberKept) -> None:
        self.numbers[f"{event.group} {event.name}"] = event.number


class Nested(AggregateRoot, category="nested"):
    """Keeps numbers in dicts in a dict."""

    numbers: dict[str, dict[str, int]] = field(default_factory=dict)

    @command
    def keep(self, group: str, name: str, number: int) -> None:
        self.raise_event(NumberKept(group=group, name=name, number=number))

    @handles
    def _kept(self, event: NumberKept) -> None:
        self.numbers.setdefault(event.group, {})[event.name] = event.number


class ChangingLarge(Workload):
    """Commands that take turns come all at once, to an aggregate that is loaded first. One alone is the measure."""

    key = "W7b"
    title = "Commands on one aggregate with a large state"
    unit = "ms until all are answered"
    is_rate = False
    compares_cases = True
    _kinds: ClassVar[dict[str, tuple[type[Any], int]]] = {
        "numbers": (Flat, 100),
        "numbers in 100 dicts": (Nested, 100),
        "numbers, each in a dict": (Nested, 1),
    }

    def __init__(self, system: System, sizes: Sizes) -> None:
        super().__init__(system, sizes)
        if not isinstance(system, Perdure):
            raise TypeError(f"{system.name} has no commands that take turns")
        self._store = system.store
        self._versions: dict[str, int] = {}

    @classmethod
    def cases(cls, sizes: Sizes) -> list[Case]:
        return [
            Case(f"{sizes.entries:,} {kind}, {commands} {noun}", commands, kind)
            for kind in cls._kinds
            for commands, noun in ((1, "command"), (_COMMANDS, "commands"))
        ]

    async def prepare(self) -> None:
        for kind, (_, size) in self._kinds.items():
            events = (
                NumberKept(group=f"group {number // size}", name=f"name {number % size}", number=number)
                for number in range(self.sizes.entries)
            )
            version = 0
            while page := list(islice(events, _AT_ONCE)):
                await self._store.append_to_stream(self._stream_id(kind), version, page)
                version += len(page)
            self._versions[kind] = version

    async def run(self, case: Case, run: int) -> Sample:
        numbers: Repository[Any] = Repository(self._kinds[case.variant][0], self._store)
        aggregate_id = self._stream_id(case.variant).partition("-")[2]
        watcher = _Watcher()
        task = asyncio.create_task(watcher.run())
        with measured(self.system.place) as meter:
            await asyncio.gather(
                *[numbers.execute(aggregate_id, _keeping(number)) for number in range(run, run + case.number)]
            )
        task.cancel()
        self._versions[case.variant] += case.number
        return meter.rate(case.number)._replace(value=1e3 * meter.seconds, block=1e3 * watcher.longest)

    async def verify(self) -> None:
        for kind, version in self._versions.items():
            expect(f"version of {kind!r}", await self._store.stream_version(self._stream_id(kind)), version)

    def _stream_id(self, kind: str) -> str:
        cls, size = self._kinds[kind]
        return f"{cls.stream_category()}-{size}"


def _keeping(number: int) -> Callable[[Any], None]:
    return lambda one: one.keep("group 1", "name 0", number)


class _Watcher:
    """A task that wants to run all the time."""

    longest = 0.0
    """Seconds that it had to wait for it at most."""

    async def run(self) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - began)
            began = now

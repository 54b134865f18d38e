"""Each workload runs, and its verification sees what a system loses."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from benchmarks.driver import measure
from benchmarks.facts import Append, Identified, Totals
from benchmarks.server import Server, connected
from benchmarks.sizes import Sizes
from benchmarks.systems import OURS
from benchmarks.systems.perdure import Perdure
from benchmarks.systems.raw import Raw, RawNotify
from benchmarks.systems.system import Handle, System
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.append import AppendingOne, AppendingRepeats, AppendingTen
from benchmarks.workloads.catch_up import CatchingUp, Projecting
from benchmarks.workloads.contention import Contending
from benchmarks.workloads.growth import Growing
from benchmarks.workloads.large_states import ChangingLarge
from benchmarks.workloads.load import Loading
from benchmarks.workloads.push import AppendingFollowed, Pushing
from benchmarks.workloads.relay import Relaying
from benchmarks.workloads.spread import Spreading
from benchmarks.workloads.workload import Case, Sample, VerificationError, Workload
from examples.streaming.events import ContentWatched
from tests.pooler import direct

TINY = Sizes(
    repeats=1,
    seconds=0.02,
    callers=(1, 3),
    log=600,
    keys=50,
    streams=(5, 120),
    paced=5,
    pace=100.0,
    commands=2,
    entries=120,
    growth=(600, 1_200),
    scale=600,
    scale_keys=50,
)


@pytest.fixture
async def server(server_url: str) -> Server:
    return await connected(direct(server_url))  # the raw driver's statements have names


@pytest.mark.parametrize(
    "workload",
    [*WORKLOADS, ChangingLarge, Growing, pytest.param(Relaying, marks=pytest.mark.broker("nats"))],
    ids=lambda workload: workload.key,
)
async def test_a_workload_measures_every_system_that_takes_part_in_every_case(
    workload: type[Workload], server: Server
) -> None:
    found = await measure(workload, OURS, TINY, server, lambda _: None)

    plain = {case.name for case in workload.cases(TINY) if case.variant not in ("snapshot", "cached", "listened to")}
    taking_part = {system.name for system in OURS if workload.key in system.workloads}
    assert {(one.case, one.system) for one in found} >= {(case, system) for case in plain for system in taking_part}
    assert all(len(one.samples) == TINY.repeats and one.value > 0 for one in found)


async def test_cases_that_are_compared_take_turns(server: Server) -> None:
    turns: list[str] = []

    class Told(AppendingFollowed):
        async def run(self, case: Case, run: int) -> Sample:
            turns.append(case.variant)
            return Sample(1.0)

        async def verify(self) -> None: ...

    await measure(Told, [Perdure], TINY._replace(callers=(4,)), server, lambda _: None)

    assert turns == ["not followed", "listened to", "followed"] * (TINY.repeats + 1)


async def test_processes_share_a_projection(server: Server) -> None:
    async with Perdure.new_place(server) as place, Perdure(place) as system:
        spreading = Spreading(system, TINY)
        await spreading.prepare()

        sample = await spreading.run(Case("2 segments, 2 processes", 2, "2"), 1)

    assert sample.value > 0


class Forgetful(Raw):
    """Acknowledges an append that it never wrote."""

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        next(callers[-1])
        await super().append(callers)

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        next(callers[-1])
        await super().change(callers)


class Doubling(Raw):
    """Writes an append twice."""

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        twice = next(callers[-1])
        await super().append([iter([twice, twice._replace(expected_version=len(twice.events))]), *callers])


class Short(Raw):
    """Reads one event less than there is, but says that it read them all."""

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:
        views, seconds = await super().load(stream_id, snapshot=snapshot)
        return Totals(views - 1, seconds)

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        return Totals(count, (await super().catch_up(count, after)).seconds - 1)

    async def rows(self, name: str) -> dict[str, Totals]:
        found = await super().rows(name)
        return found | {"title-1": Totals(found["title-1"].views - 1, found["title-1"].seconds)}


class Deaf(RawNotify):
    """Hands over an event in place of the one before it."""

    @asynccontextmanager
    async def follow(self, handle: Handle) -> AsyncIterator[None]:
        kept: list[ContentWatched] = []

        def handle_again(event: ContentWatched) -> None:
            kept.append(event)
            handle(kept[max(0, len(kept) - 2)])

        async with super().follow(handle_again):
            yield


async def test_a_repeat_that_is_written_again_fails_the_run(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Perdure.append_identified

    async def forgetting_the_id(self: Perdure, callers: Sequence[Iterator[Identified]]) -> None:
        wanted = next(callers[-1])
        await append(self, [iter([wanted, wanted._replace(event_id=uuid4())]), *callers])

    monkeypatch.setattr(Perdure, "append_identified", forgetting_the_id)
    with pytest.raises(VerificationError):
        await measure(AppendingRepeats, [Perdure], TINY, server, lambda _: None)


@pytest.mark.parametrize(
    ("workload", "system"),
    [
        (AppendingOne, Forgetful),
        (AppendingOne, Doubling),
        (AppendingTen, Forgetful),
        (AppendingTen, Doubling),
        (Loading, Short),
        (CatchingUp, Forgetful),
        (CatchingUp, Short),
        (Projecting, Forgetful),
        (Projecting, Short),
        (Pushing, Deaf),
        (Contending, Forgetful),
    ],
)
async def test_a_system_that_loses_or_doubles_an_event_fails_the_run(
    workload: type[Workload], system: type[System], server: Server
) -> None:
    with pytest.raises(VerificationError):
        await measure(workload, [system], TINY, server, lambda _: None)

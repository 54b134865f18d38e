"""Races: one append wins, the others get a conflict, and followers miss nothing."""

from __future__ import annotations

import asyncio

import pytest

from perdure.commit import ANY, NO_STREAM, AppendResult
from perdure.errors import OptimisticConcurrencyError
from perdure.store import EventStore
from perdure.testing.conformance.samples import notes, positions, texts
from perdure.testing.conformance.subscriptions import PATIENCE

LAST = "last-1"
"""The stream whose event is appended last."""


async def _polled(store: EventStore) -> list[int]:
    """Poll the log from the last position seen, and return all positions seen."""
    seen: list[int] = []
    while True:
        page = await store.read_all_events(seen[-1] if seen else 0, max_count=7)
        seen += positions(page)
        if page and page[-1].stream_id == LAST:
            return seen
        await asyncio.sleep(0)


async def _followed(store: EventStore) -> list[int]:
    seen: list[int] = []
    async for stored in store.subscribe():
        seen.append(stored.global_position)
        if stored.stream_id == LAST:
            break
    return seen


async def _write(store: EventStore, writer: int) -> list[int]:
    written: list[int] = []
    for n in range(15):
        result = await store.append_to_stream(f"note-{(writer + n) % 5}", ANY, notes(*range(1 + n % 3)))
        written += result.global_positions
    return written


class Concurrency:
    """The part of the suite on races."""

    @pytest.mark.parametrize("there", [NO_STREAM, 2])
    async def test_of_many_racers_for_one_version_exactly_one_wins(self, store: EventStore, there: int) -> None:
        for n in range(there):
            await store.append_to_stream("note-1", n, notes(n))

        outcomes = await asyncio.gather(
            *[store.append_to_stream("note-1", there, notes(f"racer {n}")) for n in range(20)], return_exceptions=True
        )

        conflicts = [outcome for outcome in outcomes if isinstance(outcome, OptimisticConcurrencyError)]
        [won] = [outcome for outcome in outcomes if isinstance(outcome, AppendResult)]
        assert {(one.expected_version, one.actual_version) for one in conflicts} == {(there, there + 1)}
        assert len(conflicts) == 19
        [stored] = await store.read_stream("note-1", there)
        assert (stored.global_position, stored.stream_version) == (won.global_position, won.stream_version)
        assert outcomes.index(won) == int(stored.event.text.removeprefix("racer "))

    async def test_no_update_is_lost(self, store: EventStore) -> None:
        async def add(worker: int) -> None:
            for n in range(4):
                while True:
                    version = await store.stream_version("note-1")
                    await asyncio.sleep(0)  # let other workers append in between
                    try:
                        await store.append_to_stream("note-1", version, notes(f"{worker}.{n}", version))
                    except OptimisticConcurrencyError:
                        continue
                    break

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for worker in range(5):
                tasks.create_task(add(worker))

        events = await store.read_stream("note-1")
        assert {*texts(events[::2])} == {f"{worker}.{n}" for worker in range(5) for n in range(4)}
        assert texts(events[1::2]) == [str(version) for version in range(0, 40, 2)]

    async def test_followers_miss_nothing_and_see_one_order(self, store: EventStore) -> None:
        async with asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as tasks:
                readers = [tasks.create_task(read(store)) for read in (_followed, _followed, _polled)]
                written = await asyncio.gather(*[_write(store, writer) for writer in range(8)])
                last = await store.append_to_stream(LAST, NO_STREAM, notes("last"))

        everything = sorted(position for positions_of_one in written for position in positions_of_one)
        assert [reader.result() for reader in readers] == [[*everything, last.global_position]] * 3
        assert positions(await store.read_all_events()) == readers[0].result()

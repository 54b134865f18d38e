"""Several processes: killed between a call and its record, frozen beyond a lease, deployed at once."""

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.segments import Segments
from perdure.retry import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.engines.reaction.calling import Provider, Shipping, place, until
from tests.projections.engines.reaction.process import Line, lines_in, started
from tests.projections.sabotage import Saboteur

ORDERS = "abcdefgh"
OWNERS = "select count(distinct owner) from perdure.projection_segments"


async def fill(store: PostgreSQLEventStore, each: int) -> int:
    """Place orders, a few events each, and return the last position."""
    last = 0
    for number in range(each):
        for order in ORDERS:
            last = await place(store, order, number)
    return last


def check(lines: Sequence[Line], each: int) -> int:
    """Check that no event is missing, that each order's are in order but for repeats, and that repeats are said to be.

    Returns how many calls were repeats.
    """
    seen: defaultdict[str, list[int]] = defaultdict(list)
    keys: dict[tuple[str, int], str] = {}
    repeats = 0
    for line in lines:
        if line.number in seen[line.order]:
            assert line.may_be_repeat, line
            repeats += 1
        else:
            seen[line.order].append(line.number)
        assert keys.setdefault((line.order, line.number), line.key) == line.key
    assert {order: numbers for order, numbers in seen.items() if numbers} == {
        order: list(range(each)) for order in ORDERS
    }
    return repeats


async def reached(store: PostgreSQLEventStore, position: int, name: str = "journal") -> None:
    await ProjectionOperations(store).wait_for(name, position, timeout=patience(60))


async def test_a_process_that_is_killed_between_a_call_and_its_record_loses_nothing_and_says_what_may_be_repeated(
    store: PostgreSQLEventStore, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "calls"
    last = await fill(store, 25)
    repeats = 0
    for at in (1, 5, 30, 60):
        process = await started(database_url, file, "kill", str(at))
        assert await process.wait() == -signal.SIGKILL
    survivor = await started(database_url, file)
    await reached(store, last)
    survivor.kill()
    await survivor.wait()
    repeats = check(lines_in(file), 25)
    assert repeats >= 4  # at least the last call of each that was killed


async def test_kill_9_at_random_moments_loses_nothing_while_events_come_in(
    store: PostgreSQLEventStore, database_url: str, tmp_path: Path
) -> None:
    file, drawn = tmp_path / "calls", random.Random(7)
    filling = asyncio.create_task(fill(store, 60))
    processes = [await started(database_url, file) for _ in range(2)]
    while not filling.done():
        await asyncio.sleep(drawn.uniform(0.1, 0.6))
        number = drawn.randrange(2)
        processes[number].kill()
        await processes[number].wait()
        processes[number] = await started(database_url, file)
    await reached(store, await filling)
    for process in processes:
        process.kill()
        await process.wait()
    check(lines_in(file), 60)


async def test_a_process_that_freezes_beyond_its_lease_begins_no_further_call(
    store: PostgreSQLEventStore, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "calls"
    last = await fill(store, 25)
    frozen = await started(database_url, file, "stop", "10")
    await until(lambda: len(lines_in(file)) >= 10)
    other = await started(database_url, file)
    await reached(store, last)
    before = [line for line in lines_in(file) if line.process == frozen.pid]
    frozen.send_signal(signal.SIGCONT)
    await asyncio.sleep(0.5)  # it would go on with its page at once
    after = [line for line in lines_in(file) if line.process == frozen.pid]
    for process in (frozen, other):
        process.kill()
        await process.wait()
    assert len(before) == len(after) == 10
    assert check(lines_in(file), 25) >= 1


async def test_two_deployments_at_once_share_the_keys(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, quick_beats: None
) -> None:
    provider, other = Provider(), Provider()
    services = ProjectionService(store, [Shipping(provider)]), ProjectionService(elsewhere, [Shipping(other)])
    await asyncio.gather(*[service.start() for service in services])
    try:
        number = last = 0
        while not (provider.calls and other.calls) or number < 20:
            for order in ORDERS:
                last = await place(store, order, number)
            await services[0].wait_for("shipping", last, timeout=patience(30))
            number += 1
    finally:
        await asyncio.gather(*[service.stop() for service in services])
    assert {(call.attempt, call.may_be_repeat) for call in provider.calls + other.calls} == {(1, False)}
    for order in ORDERS:
        calls = sorted([(call.position, call.number) for call in provider.calls + other.calls if call.order == order])
        assert [number for _, number in calls] == [*range(number)]


async def test_a_segment_is_given_away_only_between_its_calls(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, connection: asyncpg.Connection, quick_beats: None
) -> None:
    """While every segment of the first process has a call under way, the second gets none."""
    provider, other = Provider(), Provider()
    orders = [f"o{number}" for number in range(8)]
    provider.gates.update({order: asyncio.Event() for order in orders})
    async with ProjectionService(store, [Shipping(provider)], segments=2) as service:
        for order in orders:
            await place(store, order, 1, 2)
        await until(lambda: len(provider.calls) == 8)
        async with ProjectionService(elsewhere, [Shipping(other)], segments=2):
            await until(lambda: _are_two(connection, "select count(*) from perdure.projection_runners"))
            await asyncio.sleep(0.3)
            assert await connection.fetchval(OWNERS) == 1
            for gate in provider.gates.values():
                gate.set()
            await until(lambda: _are_two(connection, OWNERS))
            await service.wait_for("shipping", 16, timeout=patience(30))
    calls = provider.calls + other.calls
    assert len(calls) == 16
    assert not any(call.may_be_repeat for call in calls)


async def _are_two(connection: asyncpg.Connection, sql: str) -> bool:
    return bool(await connection.fetchval(sql) == 2)


async def test_a_lease_that_is_lost_during_a_call_leaves_the_record_to_the_new_owner(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, other = Provider(gates={"a": asyncio.Event()}), Provider()
    heartbeat = Segments.heartbeat
    is_lost = False

    async def beating(self: Segments, rate: float, error: str | None) -> Any:
        if is_lost and self in first:
            await asyncio.sleep(3600)
        if not is_lost:
            first.add(self)
        return await heartbeat(self, rate, error)

    first: set[Segments] = set()
    monkeypatch.setattr(Segments, "heartbeat", beating)
    await place(store, "a", 1)
    async with ProjectionService(store, [Shipping(provider)], lease=0.5, stop_timeout=0.1):
        await until(lambda: provider.calls)
        is_lost = True
        async with ProjectionService(elsewhere, [Shipping(other)], lease=0.5) as second:
            await second.wait_for("shipping", 1, timeout=patience(30))
            assert [(call.attempt, call.may_be_repeat) for call in other.calls] == [(1, True)]
            provider.gates["a"].set()
            await second.wait_for("shipping", await place(store, "a", 2), timeout=patience(30))
    assert provider.numbers("a") == [1]
    assert other.numbers("a") == [1, 2]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_loses_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
    at = 0
    last = await fill(store, 3)
    while True:
        at += 1
        await connection.execute("delete from perdure.parked_events")
        await connection.execute("delete from perdure.projections")
        provider = Provider()
        provider.failing.update({"a": 1, "b": 2})
        saboteur = Saboteur(at, after=after, by="perdure reaction")
        with monkeypatch.context() as patch:
            patch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.01)
            saboteur.install(patch)
            async with ProjectionService(store, [Shipping(provider)], batch_size=10) as service:
                await service.wait_for("shipping", list(range(1, last + 1)), timeout=patience(60))
        for order in ORDERS:
            assert list(dict.fromkeys(provider.numbers(order))) == [0, 1, 2]
        assert await connection.fetchval("select count(*) from perdure.parked_events") == 0
        if saboteur.count < at or at > 40:
            break
    assert at > 10

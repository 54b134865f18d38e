"""Faults while timers are set, replaced, cancelled and fired: each that stayed set fires once, and never early."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Report
from tests.cluster import Server
from tests.faults.clocks import CLOCK
from tests.faults.processes import PROCESSES, begun, crew
from tests.faults.stage import Stage, insistently, more

KEYS: Final = 50
FEWEST: Final = 10
"""Timers that must have fired, or a fault shows nothing."""
LATER: Final = 100_000
"""Timers that are set for later, in the short form of a fault; ten times as many otherwise."""
SHORT: Final = 5.0
"""Seconds of load, below which a fault is in its short form."""
TAKE = "delete from perdure.timers where name = 'trials' and key = $1 and timer = 'end' returning set_by"
SET = """
    insert into perdure.timers (name, key, timer, due_at, set_by)
    values ('trials', $1, 'end', clock_timestamp() + $2, $3)
"""
SET_LATER = """
    insert into perdure.timers (name, key, timer, due_at, set_by)
    select 'others', '{"user_id":' || n || '}', 'end', clock_timestamp() + interval '30 days', gen_random_uuid()
    from generate_series(1, $1::integer) n
"""
FIRED = """
    select (event_data ->> 'set_by')::uuid as set_by, recorded_at < (event_data ->> 'due_at')::timestamptz as is_early
    from perdure.events where event_type = 'perdure.timer_fired'
"""
REMAINING = "select count(*) from perdure.timers where name = 'trials'"
LOST: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a session raises that is cut off."""
FIRED_BY_THE_JUMPING_CLOCK = "alter function perdure.fire_timers set search_path = clocks, pg_catalog, pg_temp"


async def firing_process_killed(stage: Stage) -> Report:
    """kill -9 while timers fire"""
    server = await stage.server()
    words = ("fire", server.url(), "-")
    async with stage.load(server.url()), crew(*words) as processes, Timers(server).at_work():
        async for number in stage.moments(0.1, 0.5):
            killed = processes[number % PROCESSES]
            killed.kill()
            await killed.wait()
            processes[number % PROCESSES] = await begun(*words)
    return await stage.judged(server.url())


async def server_of_timers_killed(stage: Stage) -> Report:
    """kill -9 of the timers' server"""
    server = await stage.server()
    async with (
        stage.load(server.url()) as workload,
        crew("fire", server.url(), "-"),
        Timers(server).at_work(),
    ):
        async for _ in stage.moments(0.3, 1.0):
            await server.kill()
            await server.start()
            await more(workload)
    return await stage.judged(server.url())


async def clock_of_timers_jumps(stage: Stage) -> Report:
    """clock jumps while timers fire"""
    server = await stage.server()
    async with PostgreSQLEventStore(server.url()):
        pass  # it makes the schema
    await server.execute(CLOCK)
    await server.execute(FIRED_BY_THE_JUMPING_CLOCK)
    async with (
        stage.load(server.url()) as workload,
        crew("fire", server.url(), "-"),
        Timers(server, is_clock_true=False).at_work(),
    ):
        async for number in stage.moments(0.1, 0.5):
            # To and fro: timers are due too late, and those that were due no longer are.
            await server.execute("update clocks.ahead set by = $1", timedelta(seconds=0 if number % 2 else -3600))
            await more(workload)
        await server.execute("update clocks.ahead set by = '0'")
    return await stage.judged(server.url())


async def timers_in_a_crowd(stage: Stage) -> Report:
    """a million later timers"""
    server = await stage.server()
    async with PostgreSQLEventStore(server.url()):
        await server.execute(SET_LATER, LATER if stage.seconds < SHORT else 10 * LATER)
    async with stage.load(server.url()) as workload, crew("fire", server.url(), "-"), Timers(server).at_work():
        async for _ in stage.moments():
            await more(workload)
    return await stage.judged(server.url())


class Timers:
    """Sets, replaces and cancels timers under load, as processes do, and compares what has fired with that.

    Args:
        server: where.
        is_clock_true: whether the time that the database tells is the time at which it records events.
    """

    def __init__(self, server: Server, *, is_clock_true: bool = True) -> None:
        self._server = server
        self._is_clock_true = is_clock_true
        self._set: set[UUID] = set()
        """What must fire."""
        self._taken: set[UUID] = set()
        """What was replaced or cancelled before it fired, and must not fire."""
        self._unknown: set[UUID] = set()
        """What may have been set, or not: the connection was lost. It may fire, once."""

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Set timers during the block. Then wait until all have fired, and compare."""
        setting = asyncio.create_task(self._keep_setting())
        try:
            yield
        finally:
            setting.cancel()
            await asyncio.wait((setting,))
        async with asyncio.timeout(60):
            while await insistently(lambda: self._server.value(REMAINING)):  # noqa: ASYNC110 - other processes fire them
                await asyncio.sleep(0.01)
        connection = await self._server.connect()
        try:
            self._compare(await connection.fetch(FIRED))
        finally:
            await connection.close()

    async def _keep_setting(self) -> None:
        while True:
            with suppress(*LOST):
                connection = await self._server.connect()
                try:
                    while True:
                        await self._set_one(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(0.02)

    async def _set_one(self, connection: asyncpg.Connection) -> None:
        """Replace the timer of a key, or cancel it, in one transaction."""
        key, set_by = f'{{"user_id":{random.randrange(KEYS)}}}', uuid4()
        is_cancelled = random.random() < 0.2
        taken: UUID | None = None
        try:
            async with connection.transaction():
                taken = await connection.fetchval(TAKE, key)
                if not is_cancelled:
                    await connection.execute(SET, key, timedelta(seconds=random.uniform(-0.01, 0.1)), set_by)
        except BaseException:
            self._unknown |= {set_by} if taken is None else {set_by, taken}
            raise
        if taken is not None:
            self._taken.add(taken)
        if not is_cancelled:
            self._set.add(set_by)

    def _compare(self, firings: list[asyncpg.Record]) -> None:
        """Raise AssertionError unless what was set, and that alone, has fired, once and not early."""
        fired = [one["set_by"] for one in firings]
        assert len(fired) == len(set(fired)), "a timer fired twice"
        assert set(fired).isdisjoint(self._taken - self._unknown), "a timer fired that was replaced or cancelled"
        missing = self._set - self._taken - self._unknown - set(fired)
        assert not missing, f"{len(missing)} timers never fired"
        assert set(fired) <= self._set | self._unknown, "a timer fired that nobody has set"
        assert not (self._is_clock_true and any(one["is_early"] for one in firings)), "a timer fired too early"
        assert len(fired) >= FEWEST, f"only {len(fired)} timers fired"

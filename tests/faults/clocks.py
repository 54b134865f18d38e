"""Faults of clocks: those of the applications and that of the database jump, forwards and back."""

import asyncio
import random
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from perdure.context import sources
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing import FixedClock
from perdure.testing.checker import Report
from tests.cluster import Server
from tests.faults.processes import LEASE, crew
from tests.faults.stage import Stage, more

# PostgreSQL finds its own functions first, unless the path names another schema before its own. Then the library's
# statements find this one when they ask for the time; what is fixed in functions and defaults keeps the true one.
CLOCK = """
create schema clocks;
create table clocks.ahead (by interval not null);
insert into clocks.ahead values ('0');
create function clocks.clock_timestamp() returns timestamptz language sql volatile
    as 'select pg_catalog.clock_timestamp() + by from clocks.ahead';
alter role postgres set search_path = clocks, pg_catalog, public;
"""


async def client_clock_jumps(stage: Stage) -> Report:
    """clock of the writers jumps"""
    server = await stage.server()
    clock = FixedClock(datetime.now(UTC))
    with sources(lambda: _id_at(clock.now()), clock.now):
        async with stage.load(server.url()) as workload:
            async for _ in stage.moments(0.05, 0.3):
                clock.advance(timedelta(days=random.uniform(-3000, 3000)))
            await more(workload)
    return await stage.judged(server.url())


def _id_at(now: datetime) -> UUID:
    """A UUIDv7 of that time."""
    milliseconds = int(now.timestamp() * 1000) & (2**48 - 1)
    return UUID(int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))


async def database_clock_jumps(stage: Stage) -> Report:
    """clock of the database jumps"""
    server = await stage.server()
    async with PostgreSQLEventStore(server.url()):
        pass  # it makes the schema, with the true clock in its defaults
    await server.execute(CLOCK)
    async with crew("project", server.url(), str(LEASE)):
        async with stage.load(server.url()) as workload:
            async for number in stage.moments(0.2, 0.6):
                # To and fro: leases end too early, and seem to last for an hour.
                await server.execute("update clocks.ahead set by = $1", timedelta(hours=0 if number % 2 else 1))
                await asyncio.sleep(LEASE)
                assert await leases_are_ahead(server) or number % 2
            await more(workload)
        return await stage.judged_with_rows(server.url())


async def leases_are_ahead(server: Server) -> bool:
    """Whether leases are given by the clock that jumps."""
    return bool(
        await server.value(
            "select max(leased_until) > pg_catalog.now() + '30 minutes' from perdure.projection_segments"
        )
    )

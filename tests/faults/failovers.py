"""Faults of a primary with a synchronous standby, both in the URL: one of them dies, or says no more."""

import asyncio

from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Report
from tests.cluster import Server, url_of
from tests.faults.stage import Stage, more


async def primary_killed(stage: Stage) -> Report:
    """failover: kill -9 of the primary"""
    primary, standby = await pair(stage)
    url = url_of(primary, standby)
    async with stage.load(url) as workload:
        await halfway(stage)
        await primary.kill()
        await standby.promote()
        await more(workload)
        await halfway(stage)
    return await stage.judged(url)


async def primary_silent(stage: Stage) -> Report:
    """failover: a primary that is silent"""
    primary, standby = await pair(stage)
    url = url_of(primary, standby)
    async with stage.load(url, connect_timeout=0.5, command_timeout=1) as workload:
        await halfway(stage)
        primary.freeze()
        await standby.promote()
        await more(workload)
        await halfway(stage)
    await primary.kill()
    return await stage.judged(url)


async def standby_silent(stage: Stage) -> Report:
    """a synchronous standby that is silent"""
    primary, standby = await pair(stage)
    async with stage.load(primary.url(), command_timeout=0.5, append_timeout=1) as workload:
        async for _ in stage.moments():
            standby.freeze()
            await halfway(stage)
            standby.thaw()
            await more(workload)
        await primary.kill()
        await primary.start()
        await more(workload, 100)
    await primary.kill()
    await standby.promote()
    return await stage.judged(standby.url())


async def pair(stage: Stage) -> tuple[Server, Server]:
    primary = await stage.server()
    async with PostgreSQLEventStore(primary.url()):
        pass
    return primary, await stage.cluster.standby_of(primary, synchronous=True)


async def halfway(stage: Stage) -> None:
    await asyncio.sleep(stage.seconds / 2)

"""Faults of the network: requests and replies are lost."""

import random

from perdure.testing.checker import Report
from tests.faults.proxy import Cut, Proxy
from tests.faults.stage import Stage, more


async def reply_lost(stage: Stage) -> Report:
    """reply to COMMIT lost"""
    return await _cut(stage, Cut.REPLY, append_timeout=10.0)


async def reply_lost_and_server_gone(stage: Stage) -> Report:
    """reply to COMMIT lost, then nothing"""
    # The store gives up sooner than the network comes back: the writers themselves must repeat.
    return await _cut(stage, Cut.REPLY, append_timeout=0.1, longest_dark=0.6)


async def request_lost(stage: Stage) -> Report:
    """request lost"""
    return await _cut(stage, Cut.REQUEST, append_timeout=10.0)


async def _cut(stage: Stage, how: Cut, *, append_timeout: float, longest_dark: float = 0.0) -> Report:
    server = await stage.server()
    async with (
        Proxy(server.port) as proxy,
        stage.load(proxy.url, append_timeout=append_timeout) as workload,
    ):
        async for _ in stage.moments(0.02, 0.3):
            proxy.cut(how, dark=random.uniform(0, longest_dark))
        await more(workload)
    return await stage.judged(server.url())

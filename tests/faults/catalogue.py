"""All faults, and how one is run."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from perdure.testing.checker import Report
from tests.cluster import servers
from tests.faults import clocks, connections, failovers, processes, timers
from tests.faults import servers as server_faults
from tests.faults.stage import Stage

Fault = Callable[[Stage], Awaitable[Report]]

FAULTS: tuple[Fault, ...] = (
    server_faults.backend_killed,
    server_faults.server_killed,
    server_faults.embedded_server_killed,
    server_faults.killed_while_reconnecting,
    server_faults.out_of_connections,
    server_faults.disk_full,
    server_faults.disk_full_for_the_log,
    connections.request_lost,
    connections.reply_lost,
    connections.reply_lost_and_server_gone,
    processes.writer_killed,
    processes.projection_killed,
    processes.projection_frozen,
    failovers.primary_killed,
    failovers.primary_silent,
    failovers.standby_silent,
    clocks.client_clock_jumps,
    clocks.database_clock_jumps,
    timers.firing_process_killed,
    timers.server_of_timers_killed,
    timers.clock_of_timers_jumps,
    timers.timers_in_a_crowd,
)


DURABLE = {"fsync": "on", "full_page_writes": "on", "recovery_init_sync_method": "syncfs"}
"""Settings of a server that waits for the disk."""


async def struck(fault: Fault, seconds: float, *, on_disk: bool = True) -> Report:
    """Bring a fault about under load, and return what the checker says."""
    with tempfile.TemporaryDirectory() as folder:
        async with servers(on_disk=on_disk) as cluster:
            return await fault(Stage(cluster, Path(folder), seconds, DURABLE if on_disk else {}))

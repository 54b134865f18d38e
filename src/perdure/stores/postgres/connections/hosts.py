"""The servers that a URL names. Each is tried by itself, so that one that is silent costs its own time-out only.

The one that was good last is tried first. After a failover it is gone, or a standby, and the others are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from perdure.errors import ConfigurationError, ServersUnavailableError
from perdure.stores.postgres.driver_errors import CONNECTION_LOST

_TARGET: Final = "target_session_attrs"


class Host(NamedTuple):
    """One of the servers, as the driver is given it."""

    host: str
    port: int | None

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port is None else f"{name}:{self.port}"


class Hosts:
    """Opens connections to one of several servers that fits ``target_session_attrs``.

    Args:
        url: the database's URL.
        timeout: seconds that each server is given.
        command_timeout: seconds that a statement may take, on the connections.
        default_target: what fits where neither the URL nor the environment says it.
        on_move: called with the server that is the good one from now on, and the former.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        command_timeout: float,
        default_target: str,
        on_move: Callable[[str, str], None],
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._command_timeout = command_timeout
        self._on_move = on_move
        self._all = hosts_of(url)
        asked_for = parse_qs(urlsplit(url).query).get(_TARGET, [os.environ.get("PGTARGETSESSIONATTRS", "")])[-1]
        self._target = asked_for or default_target
        self._good: Host | None = None

    def __str__(self) -> str:
        return ",".join("local" if host.host.startswith("/") else str(host) for host in self._all) or "local"

    @property
    def patience(self) -> float:
        """How many seconds opening a connection may take: each server has its own time-out."""
        return self._timeout * max(1, len(self._all))

    async def connect(self, **settings: Any) -> asyncpg.Connection[Any]:
        """Open a connection.

        Raises:
            ServersUnavailableError: none of several servers fits.
            asyncpg.PostgresError, OSError: as the driver does, when there is but one.
        """
        if len(self._all) < 2:
            return await self._open(**settings)
        if self._target != "prefer-standby":
            return await self._first(self._target, **settings)
        try:
            return await self._first("standby", **settings)
        except ServersUnavailableError:
            return await self._first("any", **settings)

    async def _first(self, target: str, **settings: Any) -> asyncpg.Connection[Any]:
        failures: dict[str, str] = {}
        for host in self._in_order():
            try:
                connection = await self._open(host=host.host, port=host.port, target_session_attrs=target, **settings)
            except asyncpg.ClientConfigurationError:
                raise
            except asyncpg.TargetServerAttributeNotMatched:
                failures[str(host)] = f"is not {target}"
            except TimeoutError:
                failures[str(host)] = f"no answer within {self._timeout:g} s"
            except CONNECTION_LOST as error:
                failures[str(host)] = str(error) or type(error).__name__
            else:
                self._settle_on(host)
                return connection
        raise ServersUnavailableError(failures)

    async def _open(self, **settings: Any) -> asyncpg.Connection[Any]:
        try:
            connection: asyncpg.Connection[Any] = await asyncpg.connect(
                self._url, timeout=self._timeout, command_timeout=self._command_timeout, **settings
            )
            return connection
        except ValueError as error:
            if isinstance(error, asyncpg.InterfaceError):
                raise
        # Without the driver's error, which may quote a line of the password file.
        raise ConfigurationError("the driver can't read the database's URL, a PG* variable, or the password file")

    def _in_order(self) -> Iterator[Host]:
        good = self._good
        if good is not None:
            yield good
        yield from [host for host in self._all if host != good]

    def _settle_on(self, host: Host) -> None:
        former, self._good = self._good, host
        if former not in (None, host):
            self._on_move(str(host), str(former))


def hosts_of(url: str) -> list[Host]:
    """Return the servers that a URL or the environment names, as the driver reads them; none if neither names any."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    given = unquote(parts.netloc.rpartition("@")[2]) or query.get("host", [os.environ.get("PGHOST", "")])[-1]
    if not given:
        return []
    ports = query.get("port", [""])[-1]
    several = given.split(",")
    each = ports.split(",") if ports else [""]
    default = os.environ.get("PGPORT", "5432").split(",")
    if len(each) not in (1, len(several)) or (len(several) > 1 and "" in map(_name, several)):
        raise ConfigurationError(
            "the database's URL must name each of several servers, and one port for all or for each"
        )
    if not all(port.isdigit() for port in (*each, *default) if port):
        raise ConfigurationError("a port of the database's URL, or of PGPORT, must be a number")
    hosts: list[Host] = []
    for number, one in enumerate(several):
        host, own = _split(one)
        port = each[number % len(each)] or own or default[number % len(default)]
        hosts.append(Host(host, int(port) if port.isdigit() else None))
    return hosts


def _name(host: str) -> str:
    return _split(host)[0]


def _split(host: str) -> tuple[str, str]:
    """Return a host and its port, which is empty if there is none."""
    if host.startswith("/"):
        return host, ""
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port

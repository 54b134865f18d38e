"""The URL of a database: read as other libraries write it, written for the driver and for other clients.

SQLAlchemy names a driver in the scheme, and puts the arguments of that driver into the query. Those of libpq are there
in URLs of hosters. The driver takes what it doesn't know for a setting of the session, which the server then refuses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from perdure.errors import ConfigurationError
from perdure.errors.mask import DATABASE_URL, masked_text
from perdure.stores.postgres.connections.hosts import hosts_of

_LIBRARIES: Final = frozenset({"asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"})
"""What SQLAlchemy may name after the ``+`` of the scheme."""

_VARIABLES: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
"""The parameters that the driver understands, beside `_KEY_PASSWORD`, and libpq's variables for them."""
_SHOWN_SETTINGS: Final = frozenset({
    *("application_name", "datestyle", "default_transaction_isolation", "default_transaction_read_only"),
    *("idle_in_transaction_session_timeout", "lock_timeout", "role", "search_path", "statement_timeout"),
    *("synchronous_commit", "timezone", "work_mem"),
})  # fmt: skip
_KEY_PASSWORD: Final = "sslpassword"  # noqa: S105 - the name of a parameter; libpq has no variable for it
_SECRETS: Final = frozenset({"password", _KEY_PASSWORD})
_OTHER_NAMES: Final = {"database": "dbname", "ssl": "sslmode", "timeout": "connect_timeout"}
_TUNING: Final = frozenset({
    *("async_fallback", "autocommit", "max_cacheable_statement_size", "max_cached_statement_lifetime"),
    *("prepare_threshold", "prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size"),
})  # fmt: skip
"""They tune how another library works, not which database it reaches, nor how."""
_DONE_ANYWAY: Final = {
    "channel_binding": {"disable", "prefer"},
    "client_encoding": {"utf8", "utf-8", "unicode"},
    "direct_tls": {"false"},
    "gssdelegation": {"0"},
    "gssencmode": {"disable", "prefer"},
    "keepalives": {"1"},
    "load_balance_hosts": {"disable"},
    "replication": {"false", "off", "no", "0"},
    "requiressl": {"0"},
    "sslcertmode": {"allow"},
    "sslcompression": {"0"},
    "sslsni": {"1"},
}
"""The values that ask for what happens anyway."""
_IMPOSSIBLE: Final = {
    "channel_binding": "leave it out; sslmode=verify-full proves the identity of the server",
    "client_encoding": "leave it out; Perdure exchanges UTF-8 only",
    "direct_tls": "write sslnegotiation=direct",
    "gssencmode": "leave it out; sslmode=require encrypts",
    "hostaddr": "write the address as the host",
    "requiressl": "write sslmode=require",
    **dict.fromkeys(
        (
            *("gssdelegation", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
            *("load_balance_hosts", "max_protocol_version", "min_protocol_version", "replication", "require_auth"),
            *("requirepeer", "scram_client_key", "scram_server_key", "servicefile", "sslcertmode", "sslcompression"),
            *("sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout"),
        ),
        "leave it out",
    ),
}
"""Parameters that Perdure can't fulfil, and what to do."""


@dataclass(frozen=True, repr=False)
class DatabaseURL:
    """A URL, in the words of PostgreSQL's own clients."""

    place: SplitResult
    """User, password, hosts, ports and database, as they are before the query."""
    connection: Mapping[str, str]
    """The parameters of the query that the driver understands, by their names in libpq."""
    settings: Mapping[str, str]
    """The other parameters, which are settings of the session."""
    connect_timeout: float | None
    command_timeout: float | None

    @classmethod
    def parse(cls, url: object) -> Self:
        """Read a URL.

        Raises:
            ConfigurationError: it is none, or it asks for what Perdure can't do.
        """
        place = _split(_checked(url))
        given = dict(_settled(_parameters(place.query)))
        _check_against(place, given)
        seconds = {name: _seconds(name, given.pop(name, None)) for name in ("connect_timeout", "command_timeout")}
        application = given.pop("fallback_application_name", None)
        if application is not None:
            given.setdefault("application_name", application)
        connection = {name: value for name, value in given.items() if name in _VARIABLES or name == _KEY_PASSWORD}
        settings = {name: value for name, value in given.items() if name not in connection}
        return cls(place, connection, settings, **seconds)

    def __repr__(self) -> str:
        return f"DatabaseURL({masked_text(self.for_driver)!r})"

    @property
    def name(self) -> str:
        """The name of the database; empty where the URL has none."""
        return _place_of(self.place).get("dbname", "") or self.connection.get("dbname", "")

    @property
    def has_secrets(self) -> bool:
        """Whether a password, that of a key, or a setting that may be secret is in the URL."""
        is_setting = len(_shown(self.settings)) < len(self.settings)
        return is_setting or "password" in _place_of(self.place) or not _SECRETS.isdisjoint(self.connection)

    @property
    def for_driver(self) -> str:
        """The URL for asyncpg, with its password."""
        return _written(self.place, {**self.connection, **self.settings})

    def for_clients(self, *, password: bool = False) -> str:
        """Return the URL for any client that uses libpq.

        Args:
            password: whether the secrets of the URL are in it.
        """
        place, query = self.place, {**self._target(), **self.connection}
        if not password:
            user, _, hosts = place.netloc.rpartition("@")
            name = user.partition(":")[0]
            place = place._replace(netloc=f"{name}@{hosts}" if name else hosts)
            query = {name: value for name, value in query.items() if name not in _SECRETS}
        settings = dict(self.settings) if password else _shown(self.settings)
        if application := settings.pop("application_name", None):
            query["application_name"] = application
        if options := _options(settings):
            query["options"] = options
        if self.connect_timeout is not None:
            query["connect_timeout"] = str(math.ceil(self.connect_timeout))
        return _written(place, query)

    def environment(self) -> dict[str, str]:
        """Return libpq's variables for this database, with the password, but without the name of the application."""
        known = {**self._target(), **_place_of(self.place), **self.connection}
        known.pop(_KEY_PASSWORD, None)
        if "host" in known:
            hosts = hosts_of(self.for_driver)
            known["host"] = ",".join(host.host for host in hosts)
            known["port"] = ",".join(str(host.port or "") for host in hosts)
        variables = {_VARIABLES[name]: value for name, value in known.items()}
        options = _options({name: value for name, value in self.settings.items() if name != "application_name"})
        if options:
            variables["PGOPTIONS"] = options
        if self.connect_timeout is not None:
            variables["PGCONNECT_TIMEOUT"] = str(math.ceil(self.connect_timeout))
        return variables

    def _target(self) -> dict[str, str]:
        # Of several servers, libpq takes any that answers, and a store the one that takes writes.
        several = len(hosts_of(self.for_driver)) > 1
        return {"target_session_attrs": "read-write"} if several else {}


def check_url(url: object) -> None:
    """Raise ConfigurationError unless it is the URL of a database that Perdure can use."""
    DatabaseURL.parse(url)


def _checked(url: object) -> str:
    if not isinstance(url, str):
        cure = ": write url.render_as_string(hide_password=False)" if hasattr(url, "render_as_string") else ""
        raise ConfigurationError(f"the database's URL must be text, not {type(url).__name__}{cure}")
    if not DATABASE_URL.fullmatch(url) or not _can_be_split(url) or not _names_known_library(url):
        # Without the URL itself: it may hold a password.
        raise ConfigurationError(
            f"the database's URL {_url_fault(url)}; it must look like postgresql://user@host:5432/database"
        )
    if _split(url).password == "***":  # noqa: S105 - three stars are no password
        raise ConfigurationError(
            "the database's URL has three stars, which SQLAlchemy shows instead of the password: "
            "write url.render_as_string(hide_password=False) instead of str(url)"
        )
    return url


def _url_fault(url: str) -> str:
    if not url.strip():
        return "is empty"
    if "://" not in url:
        return "has no scheme"
    scheme = url.partition("://")[0]
    if scheme.startswith(("postgresql+", "postgres+")) and not _names_known_library(url):
        return f"names a driver that Perdure doesn't know after a '+' (it knows {', '.join(sorted(_LIBRARIES))})"
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        return "isn't one of PostgreSQL, which is the only database that Perdure supports"
    return "can't be read; in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25"


def _names_known_library(url: str) -> bool:
    _, plus, library = url.partition("://")[0].partition("+")
    return not plus or library in _LIBRARIES


def _split(url: str) -> SplitResult:
    # Without the scheme: that of "postgresql+psycopg_async" is none to urlsplit.
    return urlsplit(f"postgresql://{url.partition('://')[2]}")


def _can_be_split(url: str) -> bool:
    try:
        _split(url)
    except ValueError:  # it quotes the password
        return False
    return True


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query by their names in libpq. Empty ones are as if they weren't there."""
    found: dict[str, str] = {}
    for given, value in parse_qsl(query):
        name = _OTHER_NAMES.get(given, given)
        text = "require" if (given, value) == ("ssl", "true") else value
        before = found.get(name)
        if before is None or before == text:
            found[name] = text
        elif name in ("host", "port"):
            found[name] = f"{before},{text}"  # so SQLAlchemy names several servers
        else:
            raise _twice(name)
    return found


def _settled(parameters: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the parameters that have an effect."""
    for name, value in parameters.items():
        if name in _TUNING or value.lower() in _DONE_ANYWAY.get(name, ()):
            continue
        if cure := _IMPOSSIBLE.get(name):
            raise ConfigurationError(
                f"the database's URL asks for {name}, which Perdure's driver can't do: {cure}. "
                "If another library needs it, give Perdure a URL of its own, for example in PERDURE_DATABASE_URL"
            )
        yield name, value


def _check_against(place: SplitResult, parameters: Mapping[str, str]) -> None:
    # The driver would believe the place, and libpq the query.
    for name, value in _place_of(place).items():
        is_port_alone = name == "host" and value.startswith(":")
        if not is_port_alone and parameters.get(name, value) != value:
            raise _twice(name)


def _twice(name: str) -> ConfigurationError:
    return ConfigurationError(f"the database's URL gives {name} twice, with different values: leave one out")


def _place_of(place: SplitResult) -> dict[str, str]:
    credentials, _, hosts = place.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    found = {"user": user, "password": password, "host": hosts, "dbname": place.path.removeprefix("/")}
    return {name: unquote(value) for name, value in found.items() if value}


def _seconds(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"the database's URL gives {name}, but not as a number of seconds above 0")
    return seconds


def _shown(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that hold no secret. Others, such as ``options`` and a user's own, may."""
    return {name: value for name, value in settings.items() if name.lower() in _SHOWN_SETTINGS}


def _options(settings: Mapping[str, str]) -> str:
    """Return settings as the text of the parameter ``options``."""
    words = [value for name, value in settings.items() if name == "options"]
    for name, value in settings.items():
        if name != "options":
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            words.append(f"-c {name}={escaped}")
    return " ".join(words)


def _written(place: SplitResult, query: Mapping[str, str]) -> str:
    # Not with geturl, which drops the empty place of "postgresql:///name".
    text = urlencode(query, quote_via=quote, safe="/,:[]")
    return f"{place.scheme}://{place.netloc}{place.path}{'?' if text else ''}{text}"

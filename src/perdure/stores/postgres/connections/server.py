"""What a store needs of its server: the version, and settings on which the promises of the store depend."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import asyncpg

from perdure.errors import ConfigurationError
from perdure.stores.postgres.sql_files import Statements

_OLDEST: Final = 150000
_SQL: Final = Statements(Path(__file__).parents[1] / "sql" / "connections")


async def check_server(connection: asyncpg.Connection[Any], *, is_read_only: bool) -> None:
    """Raise ConfigurationError unless a store can work on the server, as the session is set."""
    settings = await connection.fetchrow(_SQL["server_settings"])
    assert settings is not None  # noqa: S101 - a select without from returns one row
    if settings["version"] < _OLDEST:
        raise ConfigurationError(f"PostgreSQL {settings['version'] // 10000} is too old: use 15 or newer")
    if settings["in_recovery"] and not is_read_only:
        raise ConfigurationError(
            "the server is a standby, which accepts no appends: give the primary's URL, or open it read_only"
        )
    if settings["synchronous_commit"] == "off" and not is_read_only:
        raise ConfigurationError(
            "synchronous_commit is off, which loses acknowledged events in a crash: "
            "turn it on for the store's user (alter role ... set synchronous_commit = on)"
        )
    if settings["extra_float_digits"] < 1:
        raise ConfigurationError(
            "extra_float_digits is below 1, which rounds the floats of read models: "
            "set it so for the store's user (alter role ... set extra_float_digits = 1)"
        )
    if settings["isolation"] != "read committed":
        raise ConfigurationError(
            f"default_transaction_isolation is {settings['isolation']}, but the log is safe under READ COMMITTED "
            "only: set it so for the store's user (alter role ... set default_transaction_isolation = ...)"
        )

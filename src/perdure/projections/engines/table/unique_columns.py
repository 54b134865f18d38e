"""Unique columns of a table: the name of their constraint, and the error for rows that break it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final
from zlib import crc32

import asyncpg
import msgspec

from perdure.errors import UniqueViolationError
from perdure.projections.engines.table.table import Table

_LONGEST_PREFIX: Final = 50
"""Bytes of a constraint's name that come from the table. PostgreSQL stores 63, and a character may take four."""


def constraint_name(table: str, columns: Sequence[str]) -> str:
    """Return the name of a table's constraint on these columns, which fits whatever their names."""
    prefix = table.encode()[:_LONGEST_PREFIX].decode(errors="ignore")
    return f"{prefix}_{crc32(msgspec.json.encode([table, columns])):08x}_key"


@contextmanager
def refusing_duplicates(table: Table) -> Generator[None]:
    """Raise UniqueViolationError if the block breaks one of the table's constraints."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        for columns in table.unique:
            if error.constraint_name == constraint_name(table.name, columns):
                raise UniqueViolationError(table.view, columns, error.detail or "") from error
        raise

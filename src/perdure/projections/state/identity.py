"""The names of a build and of its tables, and the codec of its keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

Key = tuple[Any, ...]
"""The values of a row's key, in the order of its fields."""


class BuildId(NamedTuple):
    """A build: a projection can have several versions, and each version several builds."""

    name: str
    version: int
    build: int = 1


def table_name(view: str, build: BuildId) -> str:
    """Return the name of a build's table: ``user_profiles__v1``, in the second build ``user_profiles__v1_2``."""
    return f"{view}__v{build.version}" + (f"_{build.build}" if build.build > 1 else "")


class TableShape(msgspec.Struct, frozen=True):
    """A table of a build. Only its indexes can change without a new version of the projection."""

    table: str
    view: str
    key: tuple[str, ...]
    columns: dict[str, str]
    unique: tuple[tuple[str, ...], ...] = ()
    """The columns that no two rows may have in common."""
    indexes: tuple[tuple[str, ...], ...] = ()
    """The columns of each index, without those of the key and of unique columns."""


def is_divisible(tables: Sequence[TableShape]) -> bool:
    """Return whether a build of these tables can be divided into segments.

    Without keys there are no hashes to divide by. Columns that are unique beyond the rows of one key need the order of
    the log: a value that one row gives up and another takes would be there twice if segments were at two positions.
    """
    if not tables or not all(table.key for table in tables):
        return False
    parent_key = set(tables[0].key)
    return all(parent_key <= set(columns) for table in tables for columns in table.unique)


class KeyCodec(Protocol):
    """Hashes and encodes the keys of a projection's rows."""

    def hash_of(self, key: Key) -> int:
        """Return the hash of a key, from 0 to 65535, which decides the segment of its row."""
        ...

    def encode_key(self, key: Key) -> str:
        """Return the key as a JSON object."""
        ...

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        """Return the keys that `encode_key` encoded."""
        ...

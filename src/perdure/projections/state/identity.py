"""What names a build and its tables, and the codec of its keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import msgspec

Key = tuple[Any, ...]
"""The values of a row's key, in the order of its fields."""


class BuildId(NamedTuple):
    """Which tables: a projection may be built in several versions, and each version several times."""

    name: str
    version: int
    build: int = 1


def table_name(view: str, build: BuildId) -> str:
    """The name of a build's own table: ``user_profiles__v1``, of its second build ``user_profiles__v1_2``."""
    return f"{view}__v{build.version}" + (f"_{build.build}" if build.build > 1 else "")


class TableShape(msgspec.Struct, frozen=True):
    """What must not change of a table without a new version."""

    table: str
    view: str
    key: tuple[str, ...]
    columns: dict[str, str]


class KeyCodec(Protocol):
    """Tells the keys of a projection's rows apart."""

    def hash_of(self, key: Key) -> int:
        """Where the row of this key stands among the segments."""
        ...

    def encode_key(self, key: Key) -> str:
        """The key as a JSON object."""
        ...

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        """The keys that `encode_key` encoded."""
        ...

"""The codec of keys that are a single text: a stream's id, or what a class says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import msgspec

from perdure.projections.state.identity import Key


class TextKeyCodec(NamedTuple):
    """Hashes and encodes keys of one text."""

    field: str
    """What the key is called where it is shown."""

    def hash_of(self, key: Key) -> int:
        """Return the hash of a key: 16 bits that decide its segment. It must never change."""
        return crc32(key[0].encode()) & 0xFFFF

    def encode_key(self, key: Key) -> str:
        """Return the key as a JSON object."""
        return msgspec.json.encode({self.field: key[0]}).decode()

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        """Return the keys that `encode_key` encoded."""
        return [tuple(msgspec.json.decode(key, type=dict[str, str]).values()) for key in keys]

"""The streams of processes: each instance has one, for what happens to it."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from perdure.events.stream_id import LONGEST_STREAM_ID, PROCESSES

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME_SHOWN: Final = 100
"""How many characters of a name are in a stream id with a hash."""


def process_stream(name: str, key: str) -> str:
    """Return the stream of a process's instance, where timers that fire and refused commands become events.

    A key that a stream id can't hold is replaced by a hash. The function of the same name in the database makes the
    same ids.

    Args:
        name: the name of the process.
        key: the key of the instance as JSON, as `KeyCodec.encode_key` returns it.
    """
    readable = f"{PROCESSES}-{name}.{key}"
    if len(readable) <= LONGEST_STREAM_ID and not _CONTROL.search(readable):
        return readable
    shown = _CONTROL.sub("_", name[:_NAME_SHOWN])
    digest = hashlib.sha256(f"{name}\x00{key}".encode())
    return f"{PROCESSES}-{shown}.{digest.hexdigest()}"

"""A store in memory whose log can be set back, as a backup or a failover does, and that yields at each call."""

import asyncio
from collections.abc import Sequence

from perdure import AppendResult, StoredEvent
from perdure.commit import Commit
from perdure.transaction import Transaction
from tests.repository.accounts import FaultyStore


class RestorableStore(FaultyStore):
    """Each read and each append lets other tasks run before and after it.

    Attributes:
        reads: from which version, and how many events, each read of a stream has returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []

    async def read_stream(
        self,
        stream_id: str,
        from_version: int = 0,
        max_count: int | None = None,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Transaction | None = None,
    ) -> list[StoredEvent]:
        await asyncio.sleep(0)
        found = await super().read_stream(stream_id, from_version, max_count, event_types=event_types, tx=tx)
        self.reads.append((from_version, len(found)))
        await asyncio.sleep(0)
        return found

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        await asyncio.sleep(0)
        result = await super().append(commit, tx)
        await asyncio.sleep(0)
        return result

    def restore(self, position: int) -> None:
        """Let the log be as it was at that position."""
        for lost in self._log[position:]:
            self._streams[lost.stream_id].pop()
            del self._by_id[lost.event_id]
        del self._log[position:]

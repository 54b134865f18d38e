"""The state that a queue of commands keeps in memory, and how far it may be relied on."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.commit import Commit
from perdure.repository.loader import Loader

A = TypeVar("A", bound=AggregateRoot)


class StateStatus(Enum):
    """How far the state may be relied on."""

    ABSENT = "absent"
    """It must be loaded before anything is decided."""
    LOADED = "loaded"
    """It was loaded for the batch that is served: no commit needs to confirm it."""
    KEPT = "kept"
    """It was kept from the batch before. Other processes may have written since."""


class QueueState(Generic[A]):
    """The aggregate as its events make it, those of the commit under way included.

    Attributes:
        status: how far it may be relied on.

    Args:
        aggregate_id: which aggregate.
    """

    def __init__(self, aggregate_id: str) -> None:
        self.status = StateStatus.ABSENT
        self._aggregate_id = aggregate_id
        self._aggregate: A | None = None

    @property
    def aggregate(self) -> A:
        """The aggregate. It must have been loaded."""
        assert self._aggregate is not None  # noqa: S101 - it was loaded before
        return self._aggregate

    @property
    def version(self) -> int:
        """The version of the aggregate. It must have been loaded."""
        return self.aggregate.stream_version

    async def load(self, loader: Loader[A]) -> None:
        """Load it, unless it was kept. Raises as `Loader.load` does."""
        if self.status is StateStatus.ABSENT:
            self._aggregate = await loader.load(self._aggregate_id)
            self.status = StateStatus.LOADED

    def apply(self, commit: Commit) -> None:
        """Apply events as they will be read. If a handler raises, drop the state: the next load raises it again."""
        now, aggregate = datetime.now(UTC), self.aggregate
        try:
            for event in commit.events:
                aggregate.apply_stored_event(event.stored(commit.stream_id, aggregate.stream_version + 1, 0, now))
        except Exception:  # noqa: BLE001 - the next load raises it again
            self.drop()

    def keep(self) -> None:
        """Keep it for the next batch, unless it was dropped."""
        if self.status is StateStatus.LOADED:
            self.status = StateStatus.KEPT

    def drop(self) -> None:
        """Forget it: it may not be what the events make."""
        self._aggregate = None
        self.status = StateStatus.ABSENT

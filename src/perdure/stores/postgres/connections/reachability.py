"""Whether the database can be reached. Each part of a store finds out for itself, and it is logged once for all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from perdure.errors import StoreUnavailableError
from perdure.observation import Keys, keys
from perdure.outage import Outage

logger = logging.getLogger("perdure.postgres")

_SETTLE: Final = 60.0
"""Seconds: connections that run short come and go many times a second."""
_MOST_LOSSES: Final = 20
"""How many connections may be lost within `_SETTLE` seconds before that is more than sessions that were ended."""


class Reachability:
    """Logs when a server can't be reached any more, and when it can again: a record each, for a whole store.

    What counts are attempts to connect. A connection that is lost is replaced; only if that fails, the server is away.

    Args:
        what: what is reached, as the records call it.

    Attributes:
        is_watched: whether the store is open. The failure of opening it is its caller's alone.
        appends: tells how many appends wait, for each part of the store that makes them wait.
    """

    def __init__(self, what: str) -> None:
        self.is_watched = False
        self.appends: dict[str, Callable[[], int]] = {}
        self._outage = Outage(logger, what, away="is away", back="is back", settle=_SETTLE, of_database=True)
        self._changed = -1.0
        """When it was last known that the server came or went: an attempt that began before says nothing."""
        self._losses = 0
        self._first_loss = 0.0
        self._place = ""

    @property
    def is_away(self) -> bool:
        """Whether the server could not be reached when that was last tried."""
        return self._outage.since is not None

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Around each attempt to connect."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            if self.is_watched:
                self._failed(error, began)
            raise
        self.worked(began)

    def worked(self, began: float) -> None:
        """The server has done what it was asked for at the time `began`."""
        if not self.is_away or began < self._changed:
            return
        self._changed = time.monotonic()
        place, self._place = self._place, ""
        self._outage.succeeded(self, detail=place, operation="connect")

    def lost(self) -> bool:
        """A connection was lost. Returns whether that is told: by the outage, or as it passes with the next attempt."""
        now = time.monotonic()
        if now > self._first_loss + _SETTLE:
            self._first_loss, self._losses = now, 0
        self._losses += 1
        return self.is_away or self._losses <= _MOST_LOSSES

    def moved(self, host: str, former: str) -> None:
        """Another of several servers is the good one now."""
        place = f"it is at {host} now, no more at {former}"
        if self.is_away:
            self._place = place
        else:
            logger.warning("the database has moved: %s", place, extra=keys(operation="connect"))

    def forget(self) -> None:
        """The store is closed."""
        self.is_watched = False
        self._outage.left(self)

    def _failed(self, error: Exception, began: float) -> None:
        if isinstance(error, StoreUnavailableError):
            error.is_away = True
        if began < self._changed and not self.is_away:
            return  # it began before the server was back
        if not self.is_away:
            self._changed, self._losses = time.monotonic(), 0
        told: Keys = {"operation": "connect"}
        if appends := sum([count() for count in self.appends.values()]):
            told["appends"] = appends
        waiting = "" if not appends else "1 append waits" if appends == 1 else f"{appends} appends wait"
        self._outage.failed(self, error, detail=waiting, **told)

"""Logs whether the database can be reached: once for a whole store, although each part finds out by itself."""

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
    """Logs when a server can't be reached any more, and when it can again: one record each for a whole store.

    Only attempts to connect count. A connection that is lost is replaced; if that fails, the server is away.

    Args:
        what: what is reached, as the records call it.

    Attributes:
        is_watched: whether the store is open. If opening it fails, only its caller gets the error.
        appends: count the appends that wait, for each part of the store that makes them wait.
    """

    def __init__(self, what: str) -> None:
        self.is_watched = False
        self.appends: dict[str, Callable[[], int]] = {}
        self._outage = Outage(logger, what, away="is away", back="is back", settle=_SETTLE, of_database=True)
        self._changed = -1.0
        """When the server was last known to come or go. An attempt that began before that proves nothing."""
        self._losses = 0
        self._first_loss = 0.0
        self._place = ""

    @property
    def is_away(self) -> bool:
        """Whether the server could not be reached when that was last tried."""
        return self._outage.since is not None

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Surround an attempt to connect."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            if self.is_watched:
                self._failed(error, began)
            raise
        self.worked(began)

    def worked(self, began: float) -> None:
        """Note that the server has answered a request that was sent at the time `began`."""
        if not self.is_away or began < self._changed:
            return
        self._changed = time.monotonic()
        place, self._place = self._place, ""
        self._outage.succeeded(self, detail=place, operation="connect")

    def lost(self) -> bool:
        """Note that a connection was lost. Returns whether others needn't log that.

        Either the outage was logged, or the next attempt to connect will do. Many losses within a short time are more
        than that, though the server can be reached.
        """
        now = time.monotonic()
        if now > self._first_loss + _SETTLE:
            self._first_loss, self._losses = now, 0
        self._losses += 1
        return self.is_away or self._losses <= _MOST_LOSSES

    def moved(self, host: str, former: str) -> None:
        """Note that another of several servers is used now."""
        place = f"it is at {host} now, no longer at {former}"
        if self.is_away:
            self._place = place
        else:
            logger.warning("the database has moved: %s", place, extra=keys(operation="connect"))

    def forget(self) -> None:
        """Note that the store is closed."""
        self.is_watched = False
        self._outage.left(self)

    def _failed(self, error: Exception, began: float) -> None:
        if isinstance(error, StoreUnavailableError):
            error.is_away = True
        if began < self._changed and not self.is_away:
            return  # it began before the server was back
        if not self.is_away:
            self._changed, self._losses = time.monotonic(), 0
        extra: Keys = {"operation": "connect"}
        if appends := sum([count() for count in self.appends.values()]):
            extra["appends"] = appends
        waiting = "" if not appends else "1 append waits" if appends == 1 else f"{appends} appends wait"
        self._outage.failed(self, error, detail=waiting, **extra)

"""Outages: what can't be had for a while is logged when that begins and when it ends, however often it is tried."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Unpack

from perdure.observation import Keys, keys


class Outage:
    """Logs two changes of state: something can't go on, and it goes on again. Failed tries in between log nothing.

    Several parties may wait for the same thing. The first that fails begins the outage, the last that succeeds ends it.

    Args:
        logger: where the two records go, both as warnings: a reader who saw the first needs the second.
        what: what can't go on, as in "following the log".

    Attributes:
        since: When it began; None while nothing is wrong.
        tries: How many tries have failed since.

    Example:
        outage = Outage(logger, "following the log")
        while True:
            try:
                page = await read()
            except StoreUnavailableError as error:
                outage.failed(self, error, operation="follow")
                await asyncio.sleep(pause)
            else:
                outage.succeeded(self, operation="follow")
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self.since: datetime | None = None
        self.tries = 0
        self._logger = logger
        self._what = what
        self._began = 0.0
        self._waiting: set[object] = set()

    @property
    def waiting(self) -> int:
        """How many parties wait."""
        return len(self._waiting)

    def failed(self, party: object, error: BaseException, *, detail: str = "", **told: Unpack[Keys]) -> None:
        """A try of this party has failed, and it waits for the next one.

        Args:
            party: who tried; compared by hash and equality.
            error: why.
            detail: what else the record says, as in "6 appends wait".
            **told: what the record tells under names; see `perdure.observation.keys`.
        """
        self._waiting.add(party)
        self.tries += 1
        level = logging.DEBUG
        if self.since is None:
            level = logging.WARNING
            self.since, self._began = datetime.now(UTC), time.monotonic()
        text = "%s has to wait since %s: %s" + ("; %s" if detail else "")
        values = [self._what, f"{self.since:%H:%M:%S} UTC", error, *([detail] if detail else [])]
        self._logger.log(level, text, *values, extra=keys(error, **told))

    def succeeded(self, party: object, **told: Unpack[Keys]) -> None:
        """A try of this party has succeeded, whether it waited or not."""
        if party not in self._waiting:
            return
        self._waiting.remove(party)
        if self._waiting:
            return
        seconds = time.monotonic() - self._began
        text = "%s goes on after %.1f s and %d failed tries"
        told["outage"] = seconds
        self._logger.warning(text, self._what, seconds, self.tries, extra=keys(**told))
        self._reset()

    def left(self, party: object) -> None:
        """This party gives up. Once no party waits, the outage is forgotten: it may go on, or not."""
        self._waiting.discard(party)
        if not self._waiting:
            self._reset()

    def _reset(self) -> None:
        self.since, self.tries = None, 0

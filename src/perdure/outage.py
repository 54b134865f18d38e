"""Outages: two log records, when something fails for a while and when it works again, however often it is tried."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Final, Unpack

from perdure.errors import PerdureError, StoreUnavailableError, UserCodeError
from perdure.observation import Keys, keys

REMINDER: Final = 60.0
"""Seconds after which an outage that goes on is logged again."""


class Outage:
    """Logs two changes of state: something can't go on, and it goes on again. Tries in between are logged as DEBUG.

    Several parties may wait for the same thing. The first that fails begins the outage, the last that succeeds ends it.
    An outage that goes on is logged again every minute.

    A store logs once that its database is away. So errors that mean this are logged here as DEBUG only, unless this is
    the outage of the database itself.

    Args:
        logger: where the two records go, both as warnings: to a reader of the first, the second matters as much.
        what: the activity that can't go on, as in "following the log".
        away: what the first record says of it.
        back: what the second record says of it.
        settle: for how many seconds after its end a new outage is logged only if it lasts for a second.
        of_database: whether this is the outage of a database, which logs it for all others.

    Attributes:
        since: When it began; None while nothing is wrong.
        tries: How many tries have failed since; those of outages too short to be logged count as well.

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

    _SHORT: Final = 1.0

    def __init__(
        self,
        logger: logging.Logger,
        what: str,
        *,
        away: str = "has to wait",
        back: str = "goes on",
        settle: float = 0.0,
        of_database: bool = False,
    ) -> None:
        self.since: datetime | None = None
        self.tries = 0
        self._logger = logger
        self._what = what
        self._away = away
        self._back = back
        self._settle = settle
        self._of_database = of_database
        self._began = 0.0
        self._ended: float | None = None
        self._logged: float | None = None
        """When it was last logged; None: not yet."""
        self._waiting: set[object] = set()

    @property
    def waiting(self) -> int:
        """How many parties wait."""
        return len(self._waiting)

    def failed(self, party: object, error: BaseException, *, detail: str = "", **details: Unpack[Keys]) -> None:
        """Note that a try of a party has failed, which waits for its next one.

        Args:
            party: what tried; compared by hash and equality.
            error: why it failed.
            detail: what else the record says, as in "6 appends wait".
            **details: the keys of the record; see `perdure.observation.keys`.
        """
        now = time.monotonic()
        is_logged_by_store = isinstance(error, StoreUnavailableError) and error.is_away and not self._of_database
        self._waiting.add(party)
        self.tries += 1
        if self.since is None:
            self.since, self._began = datetime.now(UTC), now
        level = logging.WARNING if not is_logged_by_store and self._is_due(now) else logging.DEBUG
        more = [f"{self.tries} tries"] if self.tries > 1 else []
        since = ", ".join([f"{self.since:%H:%M:%S} UTC", *more, *([detail] if detail else [])])
        is_foreseen = isinstance(error, PerdureError) and not isinstance(error, UserCodeError)
        traceback = None if is_foreseen else error
        text = "%s %s since %s: %s"
        self._logger.log(
            level, text, self._what, self._away, since, error, exc_info=traceback, extra=keys(error, **details)
        )

    def succeeded(self, party: object, *, detail: str = "", **details: Unpack[Keys]) -> None:
        """Note that a try of a party has succeeded, whether it waited or not."""
        if party not in self._waiting:
            return
        self._waiting.remove(party)
        if self._waiting:
            return
        self._ended = time.monotonic()
        details["outage"] = self._ended - self._began
        level = logging.DEBUG if self._logged is None else logging.WARNING
        text = "%s %s after %.1f s and %d failed tries" + ("; %s" if detail else "")
        values = [self._what, self._back, details["outage"], self.tries, *([detail] if detail else [])]
        self._logger.log(level, text, *values, extra=keys(**details))
        if self._logged is not None or not self._settle:
            self.tries = 0
        self.since = self._logged = None

    def left(self, party: object) -> None:
        """Note that a party no longer tries. If none waits any longer, the outage is forgotten, over or not."""
        self._waiting.discard(party)
        if not self._waiting:
            self.since, self.tries, self._logged = None, 0, None

    def _is_due(self, now: float) -> bool:
        """Return whether a failed try is to be logged: the first, or the first after a minute."""
        if self._logged is not None:
            due = now >= self._logged + REMINDER
        elif self._ended is not None and now < self._ended + self._settle:
            due = now >= self._began + self._SHORT
        else:
            due = True
        if due:
            self._logged = now
        return due

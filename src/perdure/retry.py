"""`RetryConfig`: how long and how often to try again, and after which pauses. `Attempts` applies it to one call."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from time import monotonic

from perdure.checks import check_count, check_instance, check_seconds
from perdure.errors import InvalidArgumentError


@dataclass(frozen=True)
class RetryConfig:
    """How long and how often to try, and how long to pause before each further attempt.

    The pause before the second attempt is drawn at random between 0 and `base_delay` seconds. The range doubles with
    each further attempt, up to `max_delay`. So callers that met in a conflict don't meet again in step.

    Args:
        max_attempts: the number of attempts, the first one included; None: as many as the time allows.
        base_delay: the longest pause before the second attempt, in seconds.
        max_delay: the longest pause before any attempt, in seconds.
        max_seconds: no further attempt begins later than this after the call, in seconds. The first one always begins,
            unless the command is still queued by then. 0: a single attempt.

    Raises:
        InvalidArgumentError: a value is out of range, or `max_delay` is less than `base_delay`.

    Example:
        >>> RetryConfig(max_seconds=3)
        RetryConfig(max_attempts=None, base_delay=0.01, max_delay=1.0, max_seconds=3)
    """

    max_attempts: int | None = None
    base_delay: float = 0.01
    max_delay: float = 1.0
    max_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            check_count("max_attempts", self.max_attempts, 1)
        check_seconds("base_delay", self.base_delay)
        check_seconds("max_delay", self.max_delay)
        check_seconds("max_seconds", self.max_seconds)
        if self.max_delay < self.base_delay:
            raise InvalidArgumentError("max_delay", f"({self.max_delay}) is less than base_delay ({self.base_delay})")

    def delay(self, attempt: int) -> float:
        """Return the seconds to pause after that many failed attempts, drawn at random at each call."""
        check_count("attempt", attempt, 1)
        return random.uniform(0, min(self.max_delay, math.ldexp(self.base_delay, min(attempt, 64) - 1)))


class Attempts:
    """The attempts of one call, and the time that they have taken. Made when the call begins.

    Attributes:
        count: how many attempts have begun.

    Args:
        retry: how long and how often to try.
    """

    __slots__ = ("_began", "_retry", "count")

    def __init__(self, retry: RetryConfig) -> None:
        self.count = 0
        self._retry = retry
        self._began = monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since the call began."""
        return monotonic() - self._began

    @property
    def seconds_left(self) -> float:
        """The seconds in which further attempts may begin; 0 if the time is over."""
        return max(0.0, self._retry.max_seconds - self.seconds)

    def pause(self) -> float | None:
        """Return the seconds to pause before the next attempt, drawn at random; None if there may be none."""
        if self.count == self._retry.max_attempts:
            return None
        delay = self._retry.delay(self.count)
        return delay if delay < self.seconds_left else None


def checked_retry(retry: RetryConfig | None, otherwise: RetryConfig | None = None) -> RetryConfig:
    """Return the RetryConfig of a call, or `otherwise`. Raise InvalidArgumentError if it is of another class."""
    if retry is None:
        return otherwise or RetryConfig()
    check_instance("retry", retry, RetryConfig)
    return retry

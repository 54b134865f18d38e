"""`RetryConfig`: how often to try again, and after which pauses."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from perdure.checks import check_count, check_instance, check_seconds
from perdure.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """How often to try, and how long to pause before each further attempt.

    The pause before the second attempt is drawn at random between 0 and `base_delay` seconds. The range doubles with
    each further attempt, up to `max_delay`. So callers that met in a conflict don't meet again in step.

    Args:
        max_attempts: the number of attempts, the first one included.
        base_delay: the longest pause before the second attempt, in seconds.
        max_delay: the longest pause before any attempt, in seconds.

    Raises:
        InvalidArgumentError: a value is out of range, or `max_delay` is less than `base_delay`.

    Example:
        >>> RetryConfig(max_attempts=5, base_delay=0.02)
        RetryConfig(max_attempts=5, base_delay=0.02, max_delay=5.0)
    """

    max_attempts: int = 3
    base_delay: float = 0.1
    max_delay: float = 5.0

    def __post_init__(self) -> None:
        check_count("max_attempts", self.max_attempts, 1)
        check_seconds("base_delay", self.base_delay)
        check_seconds("max_delay", self.max_delay)
        if self.max_delay < self.base_delay:
            raise InvalidArgumentError("max_delay", f"({self.max_delay}) is less than base_delay ({self.base_delay})")

    def delay(self, attempt: int) -> float:
        """Return the seconds to pause after that many failed attempts, drawn at random at each call."""
        check_count("attempt", attempt, 1)
        return random.uniform(0, min(self.max_delay, math.ldexp(self.base_delay, min(attempt, 64) - 1)))


def checked_retry(retry: RetryConfig | None, otherwise: RetryConfig | None = None) -> RetryConfig:
    """Return the RetryConfig of a call, or `otherwise`. Raise InvalidArgumentError if it is of another class."""
    if retry is None:
        return otherwise or RetryConfig()
    check_instance("retry", retry, RetryConfig)
    return retry

"""`RetryConfig`: how often something is tried again, and after which pauses."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from perdure.checks import check_count, check_instance, check_seconds
from perdure.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """How often, and after which pauses, something is tried again.

    The pause before the second attempt is drawn between 0 and `base_delay` seconds, and the range doubles with each
    further one up to `max_delay`: those who collided don't collide again in step.

    Args:
        max_attempts: how often in all, the first attempt included.
        base_delay: the longest pause before the second attempt, in seconds.
        max_delay: the longest pause at all, in seconds.

    Raises:
        InvalidArgumentError: a value makes no sense.

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
        """Seconds to pause after that many failed attempts, drawn anew each time."""
        check_count("attempt", attempt, 1)
        return random.uniform(0, min(self.max_delay, math.ldexp(self.base_delay, min(attempt, 64) - 1)))


def checked_retry(retry: RetryConfig | None, otherwise: RetryConfig | None = None) -> RetryConfig:
    """How to try again, where a call may say it. Raises InvalidArgumentError unless it is a RetryConfig."""
    if retry is None:
        return otherwise or RetryConfig()
    check_instance("retry", retry, RetryConfig)
    return retry

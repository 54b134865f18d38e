"""The options of the runners of projections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from perdure.log import SubscriptionStart
from perdure.retry import RetryConfig

Mode = Literal["async", "inline"]
"""What keeps a projection up to date: a service that follows the log, or each append in its own transaction."""

Kind = Literal["projection", "reaction", "relay", "process"]
"""What follows the log. Only projections and processes are built again."""

Start = int | SubscriptionStart
"""Where in the log the first build begins: after a position, or `NOW`."""

EVENT_RETRY: Final = RetryConfig(max_attempts=3, base_delay=0.1)
"""How often an event that fails is tried by default."""


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """The options of `ProjectionService`, with its defaults, as runners use them."""

    schema: str = "public"
    batch_size: int = 1000
    retry: RetryConfig = field(default_factory=lambda: EVENT_RETRY)
    segments: int = 1
    lease: float = 10.0
    max_parked: int = 1000
    handler_timeout: float = 30.0

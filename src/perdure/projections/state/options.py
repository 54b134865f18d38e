"""How projections are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from perdure.retry import RetryConfig

Mode = Literal["async", "inline"]
"""Who keeps a projection: a service that follows the log, or the appends themselves."""


@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """How projections are run. See `ProjectionService`."""

    schema: str = "public"
    batch_size: int = 500
    retry: RetryConfig = field(default_factory=RetryConfig)
    segments: int = 1
    lease: float = 10.0
    max_parked: int = 1000
    handler_timeout: float = 30.0

"""Turning OpenTelemetry on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import MissingExtraError
from perdure.observation import observe

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    traceparent: bool = False,
) -> None:
    """Make spans and metrics of what Perdure does in this process, from now on.

    It may be called again, as to change an argument: nothing is reported twice. An observer of your own is replaced.

    Args:
        tracer_provider: receives the spans; by default the global one.
        meter_provider: receives the metrics; by default the global one.
        traceparent: whether each event that is appended is given the header ``traceparent``, which says in which trace
            it was: the span of a projection's batch then links to those of the appends. It takes about 70 bytes.

    Raises:
        MissingExtraError: opentelemetry-api isn't installed.

    Example:
        from perdure.telemetry import instrument

        instrument()
    """
    try:
        from perdure.telemetry.observer import Telemetry
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise MissingExtraError("telemetry", "telemetry") from error
    observe(Telemetry(tracer_provider, meter_provider, traceparent=traceparent))


def uninstrument() -> None:
    """Make no more spans and metrics. An observer of your own that was put in place since is removed, too."""
    observe(None)

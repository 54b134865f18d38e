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
    """Report what Perdure does in this process as spans and metrics, from now on.

    Call it again to change an argument: nothing is reported twice. Your own observer, if there is one, is replaced.

    Args:
        tracer_provider: receives the spans; by default the global one.
        meter_provider: receives the metrics; by default the global one.
        traceparent: whether each appended event gets the header ``traceparent``, which names the trace of the append.
            The span of a projection's batch then links to the spans of the appends. It takes about 70 bytes.

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
    """Stop reporting spans and metrics. If your own observer has replaced them since, it is removed, too."""
    observe(None)

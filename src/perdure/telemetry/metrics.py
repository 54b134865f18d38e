"""The OpenTelemetry instruments for the metrics of Perdure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from perdure.observation import ProjectionProgress
from perdure.telemetry.names import METRICS, SECONDS, SIZES, Metric
from perdure.telemetry.spans import projection_of

FRESH: Final = 30.0
"""Seconds for which the progress of a projection is shown. It may not be run here any more, and would never change."""

Attributes = Mapping[str, str | int]


class Metrics:
    """Records the metrics of Perdure with a meter.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._progress: dict[tuple[str, int, int], tuple[float, ProjectionProgress]] = {}
        self._record: dict[str, Callable[[float, Attributes], None]] = {}
        for name, metric in METRICS.items():
            if metric.kind == "gauge":
                meter.create_observable_gauge(name, [self._gauge(name)], metric.unit, metric.description)
            else:
                self._record[name] = _instrument(meter, name, metric)

    def record(self, name: str, value: float, attributes: Attributes) -> None:
        """Record a value, with only those attributes that the metric has."""
        known = METRICS[name].attributes
        self._record[name](value, {key: attributes[key] for key in known if key in attributes})

    def show(self, progress: ProjectionProgress) -> None:
        """Let the gauges show the progress of a projection."""
        build = (progress.projection, progress.projection_version, progress.projection_build)
        self._progress[build] = (time.monotonic(), progress)

    def forget(self) -> None:
        """Let the gauges show nothing."""
        self._progress.clear()

    def _gauge(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        value: Callable[[ProjectionProgress], float] = _GAUGES[name]

        def observations(_: CallbackOptions) -> list[Observation]:
            oldest = time.monotonic() - FRESH
            # A copy, because a thread of the exporter calls this.
            return [
                Observation(value(one), projection_of(one))
                for shown_at, one in list(self._progress.values())
                if shown_at >= oldest
            ]

        return observations


_GAUGES: Final[dict[str, Callable[[ProjectionProgress], float]]] = {
    "perdure.projection.parked": lambda one: one.parked,
    "perdure.projection.lag": lambda one: one.lag,
    "perdure.projection.lag_seconds": lambda one: one.lag_seconds,
    "perdure.projection.running": lambda one: int(one.running),
}


def _instrument(meter: Meter, name: str, metric: Metric) -> Callable[[float, Attributes], None]:
    if metric.kind == "counter":
        return meter.create_counter(name, metric.unit, metric.description).add
    buckets = SECONDS if metric.unit == "s" else SIZES
    histogram = meter.create_histogram(
        name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=buckets
    )
    return histogram.record


_made: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()


def metrics_of(provider: MeterProvider, version: str) -> Metrics:
    """Return the metrics of a provider: the same each time, because a meter creates each instrument only once."""
    if provider not in _made:
        _made[provider] = Metrics(provider.get_meter("perdure", version))
    return _made[provider]

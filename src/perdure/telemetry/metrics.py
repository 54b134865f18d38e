"""The OpenTelemetry instruments for the metrics of Perdure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from perdure.observation import ProjectionProgress, TimersDue
from perdure.telemetry.names import METRICS, SECONDS, SIZES, Metric
from perdure.telemetry.spans import projection_of

FRESH: Final = 30.0
"""Seconds for which a report is shown. What it is about may not run here any more, and would never change."""

Attributes = Mapping[str, str | int]


class Metrics:
    """Records the metrics of Perdure with a meter.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._reports: dict[object, tuple[float, ProjectionProgress | TimersDue]] = {}
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

    def show(self, report: ProjectionProgress | TimersDue) -> None:
        """Let the gauges show the progress of a projection, or the timers that are due."""
        about = tuple(projection_of(report).values()) if isinstance(report, ProjectionProgress) else TimersDue
        self._reports[about] = (time.monotonic(), report)

    def forget(self) -> None:
        """Let the gauges show nothing."""
        self._reports.clear()

    def _gauge(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observations(_: CallbackOptions) -> list[Observation]:
            oldest = time.monotonic() - FRESH
            # A copy, because a thread of the exporter calls this.
            reports = [report for shown_at, report in list(self._reports.values()) if shown_at >= oldest]
            return [found for report in reports for found in _observed(name, report)]

        return observations


_OF_PROJECTIONS: Final[dict[str, Callable[[ProjectionProgress], float]]] = {
    "perdure.projection.parked": lambda one: one.parked,
    "perdure.projection.lag": lambda one: one.lag,
    "perdure.projection.lag_seconds": lambda one: one.lag_seconds,
    "perdure.projection.running": lambda one: int(one.running),
}
_OF_TIMERS: Final[dict[str, Callable[[TimersDue], float]]] = {
    "perdure.timer.due": lambda one: one.count,
    "perdure.timer.due_seconds": lambda one: one.seconds,
}


def _observed(name: str, report: ProjectionProgress | TimersDue) -> list[Observation]:
    if isinstance(report, TimersDue):
        return [Observation(_OF_TIMERS[name](report))] if name in _OF_TIMERS else []
    return [Observation(_OF_PROJECTIONS[name](report), projection_of(report))] if name in _OF_PROJECTIONS else []


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

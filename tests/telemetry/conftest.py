"""OpenTelemetry's own exporters, which keep in memory what they are given."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from perdure import telemetry


class Exported(NamedTuple):
    """What was exported."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def instrument(self, *, traceparent: bool = False) -> None:
        telemetry.instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, traceparent=traceparent
        )

    def attributes(self, name: str) -> dict[str, Any]:
        """The attributes of the only span of that name."""
        return dict(self.span(name).attributes or {})

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if name in {None, span.name}]

    def span(self, name: str) -> ReadableSpan:
        [span] = self.spans(name)
        return span

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        data = self.reader.get_metrics_data()
        metrics = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
        return {metric.name: list(metric.data.data_points) for metric in metrics}

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """The values of a metric by the values of its attributes, sorted by name."""

        return {
            tuple(value for _, value in sorted(point.attributes.items())): point.value
            for point in self.points().get(name, [])
        }


@pytest.fixture
def exported() -> Iterator[Exported]:
    """Telemetry is on, and this is what it tells."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider, meter_provider = TracerProvider(), MeterProvider([reader])
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    exported = Exported(tracer_provider, meter_provider, exporter, reader)
    exported.instrument()
    yield exported
    telemetry.uninstrument()
    tracer_provider.shutdown()
    meter_provider.shutdown()

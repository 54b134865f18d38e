"""Spans and metrics by OpenTelemetry: `instrument` turns them on. All names are in ``docs/telemetry.md``."""

from perdure.telemetry.instrumentation import instrument as instrument
from perdure.telemetry.instrumentation import uninstrument as uninstrument

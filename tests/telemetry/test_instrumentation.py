import subprocess
import sys

WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from perdure import MissingExtraError, telemetry
try:
    telemetry.instrument()
except MissingExtraError as error:
    print(error)
telemetry.uninstrument()
"""


def test_without_opentelemetry_it_says_what_to_install() -> None:
    outcome = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)

    assert outcome.stdout == "telemetry needs an extra: pip install 'perdure[telemetry]'\n"


def test_the_global_providers_are_taken_when_none_is_given() -> None:
    program = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from perdure import InMemoryEventStore, event, telemetry

@event("a.happened")
class Happened:
    pass

telemetry.instrument()
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
asyncio.run(InMemoryEventStore().append_to_stream("a-1", 0, [Happened()]))
print([span.name for span in exporter.get_finished_spans()])
"""
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert outcome.stdout == "['append a']\n"

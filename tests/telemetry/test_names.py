"""The table in the documents holds what the code has, and the code tells what the table holds."""

from perdure.observation import Keys
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.telemetry.names import ATTRIBUTES, METRICS, SPANS
from tests.docs.documents import ROOT
from tests.telemetry.conftest import Exported
from tests.telemetry.doing import do_everything

LOG_KEYS = {f"perdure.{name}" for name in Keys.__annotations__} | {"perdure.category", "error.type"}


def table() -> list[str]:
    """The rows as they must stand in the document."""
    spans = [
        f"| `{name}` | span, {span.kind} | {listed(span.attributes)} | {span.description} |"
        for name, span in SPANS.items()
    ]
    metrics = [
        f"| `{name}` | {metric.kind}, `{metric.unit}` | {listed(metric.attributes)} | {metric.description} |"
        for name, metric in METRICS.items()
    ]
    attributes = [f"| `{name}` | attribute | {places(name)} | {meaning} |" for name, meaning in ATTRIBUTES.items()]
    return spans + metrics + attributes


def listed(attributes: tuple[str, ...]) -> str:
    return ", ".join(f"`{name.removeprefix('perdure.')}`" for name in attributes)


def places(attribute: str) -> str:
    used = {
        "spans": any(attribute in span.attributes for span in SPANS.values()),
        "metrics": any(attribute in metric.attributes for metric in METRICS.values()),
        "logs": attribute in LOG_KEYS,
    }
    return ", ".join(place for place, is_used in used.items() if is_used)


def test_the_table_in_the_document_holds_every_name() -> None:
    lines = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.startswith("| `")] == table()


def test_every_attribute_is_told_of_and_used_somewhere() -> None:
    in_spans = {name for span in SPANS.values() for name in span.attributes}
    in_metrics = {name for metric in METRICS.values() for name in metric.attributes}

    assert in_spans | in_metrics | LOG_KEYS == ATTRIBUTES.keys()


async def test_spans_have_the_names_and_the_attributes_that_they_are_said_to_have(
    exported: Exported, store: PostgreSQLEventStore
) -> None:
    await do_everything(store)

    told: dict[str, set[str]] = {}
    for span in exported.spans():
        operation, _, target = span.name.partition(" ")
        [name] = [name for name in SPANS if name.partition(" ")[0] == operation]
        assert bool(target) == ("{" in name)
        assert span.kind.name.lower() == SPANS[name].kind
        told.setdefault(name, set()).update(span.attributes or {})
    known = {name: set(span.attributes) for name, span in SPANS.items()}
    assert told.keys() == known.keys()
    assert {name: keys - known[name] for name, keys in told.items() if keys - known[name]} == {}
    missing = {name: known[name] - keys - {"error.type"} for name, keys in told.items()}
    assert missing == {name: set() for name in known}
    assert "error.type" in told["append {category}"]

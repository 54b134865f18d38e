"""A run as text: tables that are read in a terminal as well as on a page."""

from collections.abc import Iterator, Sequence

from benchmarks.outcome import Measured, Series
from benchmarks.report.document import Document
from benchmarks.targets import Judged, judge, ratios
from benchmarks.workloads import ALL_WORKLOADS
from benchmarks.workloads.workload import Workload


def text_of(document: Document) -> str:
    """All of it."""
    parts = [*_heading(document), *_verdicts(judge(document.measured))]
    for workload in ALL_WORKLOADS:
        if document.measured.cases(workload.key):
            parts += [f"## {workload.key}: {workload.title}", "", *_workload(workload, document.measured), ""]
    return "\n".join(parts)


def _heading(document: Document) -> Iterator[str]:
    machine = document.machine
    yield f"`{document.command}`, {document.measured_at:%Y-%m-%d}."
    yield ""
    yield (
        f"{machine.cores} cores of {machine.processor}, {machine.memory_gb:g} GB, {machine.system}; "
        f"the disk keeps 8 kB in {machine.sync_microseconds:g} µs. "
        + ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        + "."
    )
    yield ""


def _verdicts(judged: Sequence[Judged]) -> Iterator[str]:
    yield "## Targets"
    yield ""
    yield from table(
        ("", "case", "target", "found", "least to most", "", "goal"),
        [
            (
                one.target.workload,
                one.case,
                one.target.wording,
                _short(one.found),
                f"{_short(one.least)} to {_short(one.most)}",
                one.verdict,
                "" if one.target.goal is None else f"{one.target.goal:g}, {'met' if one.is_goal_met else 'not met'}",
            )
            for one in judged
        ],
    )
    yield ""


def _workload(workload: type[Workload], measured: Measured) -> Iterator[str]:
    rows: list[Sequence[str]] = []
    for case in measured.cases(workload.key):
        series = [one for one in measured.series if (one.workload, one.case) == (workload.key, case)]
        reference = next((one for one in series if one.system.startswith("raw")), None)
        rows += [_row(one, reference) for one in series]
    headings = ("case", "system", workload.unit, "least to most", "x raw", "p50 ms", "p99 ms", "client µs", "server µs")
    yield from table((*headings, "memory MB", "longest block ms"), rows)


def _row(series: Series, reference: Series | None) -> Sequence[str]:
    ratio = sorted(ratios(series, reference))[len(series.samples) // 2] if reference else None
    figures = [series.middle(name) for name in ("p50", "p99", "client", "server", "memory", "block")]
    return (
        series.case,
        series.system,
        _short(series.value),
        f"{_short(series.least)} to {_short(series.most)}",
        _short(ratio),
        *map(_short, figures),
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, with its columns in line. Those that are empty are left out."""
    columns = [column for column in zip(headings, *rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for number, row in enumerate(zip(*columns, strict=True)):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "| " + " | ".join("-" * width for width in widths) + " |"


def _short(value: float | None) -> str:
    """Three digits are more than the spread allows."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

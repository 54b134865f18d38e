"""A run as pictures: bars from run to run, with the least and the most."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.outcome import Measured
from benchmarks.report.document import Document
from benchmarks.workloads import ALL_WORKLOADS
from benchmarks.workloads.workload import Workload

_COLOURS = {
    "perdure": "#c2410c",
    "perdure, no queue": "#fdba74",
    "raw": "#334155",
    "raw unnest": "#64748b",
    "raw notify": "#334155",
    "tutorial": "#94a3b8",
    "eventsourcing": "#0f766e",
    "umadb": "#7c3aed",
}
_WIDE = 30
"""From this ratio between the highest and the lowest on, only a logarithmic scale shows both."""

_LONG = 24
"""Names of cases with this length or more don't fit side by side."""


def write_plots(folder: Path, document: Document) -> list[Path]:
    """One picture for each workload that was run."""
    measured = document.measured
    return [
        _plot(folder / f"{workload.key.lower()}.png", workload, measured)
        for workload in ALL_WORKLOADS
        if measured.cases(workload.key)
    ]


def _plot(path: Path, workload: type[Workload], measured: Measured) -> Path:
    cases = measured.cases(workload.key)
    systems = list(dict.fromkeys(one.system for one in measured.series if one.workload == workload.key))
    width = 0.8 / len(systems)
    figure = Figure(figsize=(max(6.0, 1.2 + 0.45 * len(cases) * len(systems)), 4.2), layout="constrained")
    axes = figure.subplots()
    values: list[float] = []
    for place, system in enumerate(systems):
        found = [(at, one) for at, case in enumerate(cases) if (one := measured.find(workload.key, case, system))]
        heights = [one.value for _, one in found]
        values += heights
        axes.bar(
            [at + (place - (len(systems) - 1) / 2) * width for at, _ in found],
            heights,
            0.92 * width,
            label=system,
            color=_COLOURS.get(system),
            yerr=([one.value - one.least for _, one in found], [one.most - one.value for _, one in found]),
            error_kw={"elinewidth": 0.8, "capsize": 2},
        )
    if max(values) > _WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    is_long = len(cases) > 1 and max(map(len, cases)) > _LONG
    axes.set_xticks(range(len(cases)), cases, rotation=20 if is_long else 0, ha="right" if is_long else "center")
    axes.set_ylabel(workload.unit)
    axes.set_title(f"{workload.key}: {workload.title}" + ("" if workload.is_rate else " (less is better)"), loc="left")
    axes.spines[["top", "right"]].set_visible(b=False)
    figure.legend(frameon=False, ncols=min(4, len(systems)), loc="outside lower center")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path

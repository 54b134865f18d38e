"""What was measured is held against the targets, and shown."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from benchmarks.machine import Machine
from benchmarks.outcome import Measured, Series
from benchmarks.report.document import Document, write
from benchmarks.report.plots import write_plots
from benchmarks.report.text import text_of
from benchmarks.targets import TARGETS, judge
from benchmarks.workloads import ALL_WORKLOADS
from benchmarks.workloads.workload import Sample

MACHINE = Machine("a processor", 2, 24.0, "Linux", 100.0, {"Python": "3.11"})


def series(system: str, *values: float, workload: str = "W1", case: str = "64 callers") -> Series:
    return Series(workload, case, system, [Sample(value, client=10.0) for value in values])


def found(*all_series: Series) -> Document:
    return Document(datetime(2026, 11, 22, tzinfo=UTC), MACHINE, "python -m benchmarks", list(all_series))


@pytest.mark.parametrize(("ours", "verdict"), [(199.0, "not met"), (200.0, "met")])
def test_a_target_is_met_by_the_median_of_the_ratios_turn_by_turn(ours: float, verdict: str) -> None:
    measured = Measured([series("raw", 10, 100, 1000), series("perdure", 1, ours, 100_000)])

    [judged] = [one for one in judge(measured) if one.target.against == "raw"]

    assert (judged.found, judged.least, judged.most) == (ours / 100, 0.1, 100)
    assert judged.verdict == verdict


def test_less_is_better_for_latencies() -> None:
    case = "same process"
    measured = Measured(
        [series("raw notify", 2, workload="W6", case=case), series("perdure", 2.6, workload="W6", case=case)]
    )

    assert [one.verdict for one in judge(measured) if one.target.against] == ["not met"]


def test_the_best_peer_is_the_faster_one() -> None:
    measured = Measured(
        [series(name, value, workload="W4") for name, value in (("perdure", 3), ("umadb", 2), ("eventsourcing", 1))]
    )

    [judged] = [one for one in judge(measured) if one.found]

    assert (judged.found, judged.verdict) == (1.5, "met")


def test_a_target_whose_other_side_was_not_measured_is_told() -> None:
    assert {one.verdict for one in judge(Measured([series("perdure", 1)]))} == {"not measured"}


def test_each_target_is_of_a_workload_that_there_is() -> None:
    assert {target.workload for target in TARGETS} <= {workload.key for workload in ALL_WORKLOADS}


def test_the_tables_show_ratios_and_verdicts() -> None:
    text = text_of(found(series("raw", 1000, 1100), series("perdure", 2000, 3300)))

    assert "| 64 callers | perdure | 2,650 " in text
    assert "| met " in text


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    document = found(series("raw", 1, 2))

    write(tmp_path / "results.json", document)

    assert msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Document) == document


def test_there_is_a_picture_of_each_workload(tmp_path: Path) -> None:
    document = found(*[series(name, 1, 50, workload=key) for name in ("raw", "perdure") for key in ("W1", "W4")])

    paths = write_plots(tmp_path, document)

    assert [path.name for path in paths] == ["w1.png", "w4.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)

"""`make faults` says how each fault ended, and its status says the worst."""

import sys

import pytest

from perdure.testing.checker import Fault as Broken
from perdure.testing.checker import Report, Violation
from tests.faults import __main__ as program
from tests.faults.catalogue import Fault
from tests.faults.stage import NotRun, Stage

FIGURES = {
    "writers": 16,
    "appends": 10,
    "acknowledged": 20,
    "refused": 1,
    "unknown": 2,
    "resolved": 2,
    "repeats": 0,
    "others": 0,
}
SOUND = Report(**FIGURES, events=20, seen=40, seconds=1.0, write_gap=0.25, violations=())
UNSOUND = Report(
    **FIGURES, events=19, seen=40, seconds=1.0, write_gap=0.25, violations=(Violation(Broken.LOST, "event 7"),)
)


async def harmless(stage: Stage) -> Report:
    """harmless"""
    return SOUND


async def harmful(stage: Stage) -> Report:
    """harmful"""
    return UNSOUND


async def impossible(stage: Stage) -> Report:
    """impossible"""
    raise NotRun("there is no such package")


async def failing(stage: Stage) -> Report:
    """failing"""
    raise RuntimeError("the server didn't come back")


@pytest.mark.parametrize(
    ("faults", "status", "told"),
    [
        ((harmless,), 0, ["harmless", "250 ms"]),
        ((harmless, impossible), 3, ["harmless", "NOT RUN: there is no such package"]),
        ((harmful, impossible), 1, ["LOST 1", "event 7", "NOT RUN"]),
        ((failing, harmless), 1, ["FAILED: RuntimeError: the server didn't come back", "harmless"]),
    ],
    ids=["sound", "not_run", "unsound", "failed"],
)
def test_the_worst_of_all_faults_is_the_status(
    faults: tuple[Fault, ...],
    status: int,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def struck(fault: Fault, seconds: float) -> Report:
        return await fault(Stage(None, None, seconds, {}))  # type: ignore[arg-type]  # these faults look at none of it

    monkeypatch.setattr(program, "FAULTS", faults)
    monkeypatch.setattr(program, "struck", struck)
    monkeypatch.setattr(sys, "argv", ["faults"])

    assert program.main() == status
    printed = capsys.readouterr().out
    assert [text for text in told if text not in printed] == []

"""The example of the README works in an empty folder without any setup."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, README, ROOT, blocks, programs, run, shown

MAKE = re.compile(r"\bmake ([a-z]+)")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for an embedded server."""
    yield tmp_path
    record = tmp_path / ".perdure" / "location.txt"
    if record.exists():  # root's server isn't in the private folder that pytest removes
        shutil.rmtree(record.read_text(encoding="utf-8").splitlines()[0])


def without_database() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith("PERDURE_") and name != "DATABASE_URL"
    }


def test_the_example_prints_the_output_in_the_readme(folder: Path) -> None:
    [example] = programs(README)
    (folder / "streaming.py").write_text(example.text, encoding="utf-8")

    outcome = run(folder / "streaming.py", without_database())

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == example.output

    again = run(folder / "streaming.py", without_database())

    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == "user is already registered"


def test_the_readme_begins_with_two_commands() -> None:
    first = blocks(README.read_text(encoding="utf-8"), "sh")[0]

    assert MAKE.findall(first.text) == ["demo", "test"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_the_make_targets_that_a_document_names_exist(path: Path) -> None:
    document = path.read_text(encoding="utf-8")
    code = [*re.findall(r"`([^`\n]+)`", document), *(block.text for block in blocks(document, "sh"))]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {name for text in code for name in MAKE.findall(text)} <= targets


def test_make_help_lists_the_targets_of_the_readme() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert set(MAKE.findall(README.read_text(encoding="utf-8"))) <= set(
        re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
    )

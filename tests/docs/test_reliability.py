"""The tests that the page on reliability names exist, and it names every regression test."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.documents import ROOT
from tests.structure.sources import functions, parse

DOCUMENT = ROOT / "docs" / "reliability.md"
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\(\.\./(?P<path>(?:tests|src)/[\w/]+\.py)\)")
ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<rest>.+) \|$", re.MULTILINE)
REGRESSION = re.compile(r"test_regression_(?P<numbers>\d\d(?:_and_\d\d)?)_(?P<text>\w+)")
ENTRIES = 33
WITHOUT_A_SUBJECT = {8, 28, 33}
"""Entries on tags, reactions and message brokers, which Perdure doesn't have."""


class Regression(NamedTuple):
    numbers: list[int]
    """The entries of the list that the test covers."""
    text: str
    path: str


def regressions() -> Iterator[Regression]:
    """The tests with an entry of the list in their name."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in functions(parse(path)):
            if (match := REGRESSION.fullmatch(function.name)) is not None:
                numbers = [int(number) for number in match["numbers"].split("_and_")]
                yield Regression(numbers, sentence(match["text"]), str(path.relative_to(ROOT)))


def sentence(name: str) -> str:
    return name.replace("_", " ")


@cache
def sentences(path: Path) -> set[str]:
    """The names of a module's tests as sentences, with and without the entry of the list."""
    names = {one.name for one in functions(parse(path)) if one.name.startswith("test_")}
    plain = {match["text"] for name in names if (match := REGRESSION.fullmatch(name)) is not None}
    return {sentence(name) for name in plain | {name.removeprefix("test_") for name in names}}


def unknown_tests(document: str) -> list[str]:
    """The links to tests that don't exist."""
    return [
        f"{match['path']}: {match['text']}"
        for match in LINK.finditer(document)
        if match["text"] not in sentences(ROOT / match["path"])
    ]


def section(document: str, heading: str) -> str:
    return document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(document: str) -> dict[int, str]:
    return {int(match["number"]): match["rest"] for match in ROW.finditer(document)}


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_every_test_that_the_document_names_exists(document: str) -> None:
    assert len(LINK.findall(document)) > 30
    assert unknown_tests(document) == []


def test_every_promise_has_a_proof(document: str) -> None:
    promises = rows(section(document, "The seven promises"))

    assert list(promises) == list(range(1, 8))
    assert [number for number, row in promises.items() if not LINK.search(row)] == []


def test_every_entry_of_the_list_is_in_the_table(document: str) -> None:
    table = rows(section(document, "What went wrong elsewhere"))

    assert list(table) == list(range(1, ENTRIES + 1))
    assert {number for number, row in table.items() if not LINK.search(row)} == WITHOUT_A_SUBJECT


def test_every_regression_test_is_in_its_rows(document: str) -> None:
    table = rows(section(document, "What went wrong elsewhere"))
    found = list(regressions())

    assert len(found) > 20
    for numbers, text, path in found:
        for number in numbers:
            assert f"[{text}](../{path})" in table[number], (number, text, path)


def test_a_missing_test_is_found() -> None:
    here = "../tests/docs/test_reliability.py"

    assert unknown_tests(f"[a missing test is found]({here})") == []
    assert unknown_tests(f"[a test that went]({here})") == ["tests/docs/test_reliability.py: a test that went"]

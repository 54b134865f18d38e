"""The page on the architecture names rooms that exist, all floors, and names that are in the files beside them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = ROOT / "src" / "perdure"

CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w./]+(?:\.(?:py|sql|toml)|/)")
LABEL = re.compile(r">([^<>]+)</text>")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def paths(text: str) -> list[str]:
    """The paths of modules and folders in the code of a text."""
    return [code for code in CODE.findall(text) if PATH.fullmatch(code)]


def place(path: str) -> Path:
    """Where a path leads: from the package, or from the top for tests and settings."""
    top = ROOT if path.startswith("tests/") or path == "pyproject.toml" else PACKAGE
    return top / path


def missing_paths(page: str) -> list[str]:
    """The paths that lead nowhere. A bare file name may be in a folder that its paragraph or list item names."""
    missing: list[str] = []
    for block in re.split(r"\n\s*\n|\n(?=\d+\. |\|)", page):
        named = paths(block)
        folders = [PACKAGE, *(place(path) for path in named if path.endswith("/"))]
        missing += [
            path for path in named if not place(path).exists() and not any((at / path).exists() for at in folders)
        ]
    return missing


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table after a heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\n?)+", section, re.MULTILINE)
    assert table is not None, heading
    for line in table[0].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def source(path: str) -> str:
    """The text of a module, or of all modules and statements of a folder."""
    at = place(path)
    files = [at] if at.is_file() else [file for file in sorted(at.rglob("*")) if file.suffix in {".py", ".sql"}]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def missing_names(row: list[str]) -> list[str]:
    """The names in the last cell of a row that none of its files has."""
    _, where, names = row
    text = "\n".join(source(path) for path in paths(where))
    return [name for name in CODE.findall(names) if not re.search(rf"\b{re.escape(name)}\b", text)]


def test_every_path_on_the_page_exists(page: str) -> None:
    assert len(paths(page)) > 100
    assert missing_paths(page) == []


def test_every_path_in_the_picture_exists() -> None:
    words = [word.strip(" ,") for label in LABEL.findall(PICTURE.read_text(encoding="utf-8")) for word in label.split()]
    named = [word for word in words if PATH.fullmatch(word)]
    rooms = [PACKAGE, *(PACKAGE / room for room in ("projections", "repository", "stores", "stores/postgres"))]

    assert len(named) > 30
    assert [path for path in named if not any((room / path).exists() for room in rooms)] == []


def test_the_floors_are_those_that_the_layers_are_checked_by(page: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [layers] = [
        contract["layers"] for contract in settings["tool"]["importlinter"]["contracts"] if contract["id"] == "layers"
    ]

    assert [cells[0].strip("`") for cells in rows(page, "The floors")] == re.findall(r"\w+", " ".join(layers))


def test_the_names_to_look_for_are_in_the_files_of_their_row(page: str) -> None:
    table = list(rows(page, "I want to change X: where?"))

    assert len(table) >= 30
    assert [row for row in table if not paths(row[1])] == []
    assert {row[0]: names for row in table if (names := missing_names(row))} == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`store.py` and `stores/postgres/`", []),
        ("`stores/postgres/reader.py`, and `reader.py` of `stores/postgres/`", []),
        ("`gone.py`", ["gone.py"]),
        ("`reader.py`\n\n`stores/postgres/`", ["reader.py"]),
        ("| `gone/` | `tests/gone.py` |", ["gone/", "tests/gone.py"]),
    ],
)
def test_a_path_that_leads_nowhere_is_found(text: str, missing: list[str]) -> None:
    assert missing_paths(text) == missing


def test_a_name_that_is_not_there_is_found() -> None:
    assert missing_names(["x", "`retry.py`", "`RetryConfig`, `Gone`"]) == ["Gone"]

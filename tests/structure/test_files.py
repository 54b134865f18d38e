"""What no file of the project may hold."""

import re
from pathlib import Path

import pytest

from tests.structure.sources import PACKAGE, project_files, shown

# Spelled so that this file doesn't hold them itself.
PLACES = re.compile(r"(?<![\w.])/(?:work|root|opt)/|pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian[.]org")
SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma:\s*no (?:cover|branch))(?P<rest>.*)")
RULES = re.compile(r"^\s*(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]+\])")


def places_in(text: str) -> list[str]:
    return PLACES.findall(text)


def unreasoned(text: str) -> list[str]:
    """The lines that silence a tool without naming the rule, or the reason."""
    return [line.strip() for line in text.splitlines() if (match := SILENCED.search(line)) and not has_reason(match)]


def has_reason(match: re.Match[str]) -> bool:
    rest = match["rest"]
    while (again := SILENCED.search(rest)) is not None:  # two tools may be silenced for one reason
        rest = again["rest"]
    named = match[1].startswith("pragma") or RULES.match(match["rest"])
    return bool(named) and len(re.findall(r"\w+", RULES.sub("", rest))) >= 2


@pytest.mark.parametrize("path", project_files(), ids=shown)
def test_no_file_names_a_place_of_one_machine_or_a_registry(path: Path) -> None:
    assert places_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in project_files() if path.suffix == ".py"], ids=shown)
def test_an_exception_from_a_rule_names_the_rule_and_the_reason(path: Path) -> None:
    assert path == Path(__file__) or unreasoned(path.read_text(encoding="utf-8")) == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("text", ["cd /wo" + "rk/main", "'/ro" + "ot/x'", "https://pypi." + "org/simple"])
def test_a_place_is_found(text: str) -> None:
    assert places_in(text)


@pytest.mark.parametrize("text", ["tests/work/x", "./root/", "pip install perdure", "path/to/opt/x"])
def test_other_texts_are_left_alone(text: str) -> None:
    assert places_in(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa",
        "x = 1  # noqa: S608",
        "x = 1  # type: ignore",
        "x = 1  # type: ignore - it is fine really",
        "x = 1  # type: ignore[attr-defined]",
        "x = 1  # type: ignore[attr-defined]  # pyright: ignore[reportFoo]",
        "x = 1  # pragma: no cover",
    ],
)
def test_an_exception_without_a_reason_is_found(line: str) -> None:
    assert unreasoned(line) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa: S608 - the name is quoted above",
        "x = 1  # type: ignore[attr-defined]  # made by __getattr__",
        "x = 1  # type: ignore[attr-defined] # pyright: ignore[reportFoo] - made by __getattr__",
        "x = 1  # pragma: no cover - needs Windows",
    ],
)
def test_an_exception_with_a_reason_is_left_alone(line: str) -> None:
    assert unreasoned(line) == []

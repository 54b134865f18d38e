"""One word per thing: modules are named after what they hold, and the words that lost don't come back."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.structure.sources import PACKAGE, modules, parse, shown, sql_files
from tests.structure.sql import statements

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc", "core", "types"}
NAMES_IN_ING = {"testing"}  # `perdure.testing`: what Python libraries call it

INSTEAD = {
    "originator": "stream, aggregate",
    "topic": "event type, category",
    "notification": "stored event",
    "tracking": "checkpoint",
    "offset": "global_position, stream_version",
    "manager": "say what it does",
}
STANDARD_LIBRARY = {"AbstractAsyncContextManager", "AbstractContextManager", "utcoffset"}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def rivals(names: set[str]) -> dict[str, str]:
    """The names that hold a word that lost, each with the word to use instead."""
    words = ((name, word.lower().removesuffix("s")) for name in names - STANDARD_LIBRARY for word in WORD.findall(name))
    return {name: INSTEAD[word] for name, word in words if word in INSTEAD}


def is_gerund(path: Path) -> bool:
    return any(part.endswith("ing") and part not in NAMES_IN_ING for part in path.with_suffix("").parts)


def singulars(paths: Iterable[Path]) -> list[Path]:
    """The modules that have a neighbour of the same name in the plural."""
    names = {path.with_suffix("") for path in paths}
    return sorted(path.with_suffix(".py") for path in names if path.with_name(f"{path.name}s") in names)


def class_names(tree: ast.Module) -> Iterable[str]:
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def names_that_recur(trees: Iterable[ast.Module]) -> set[str]:
    return {name for name, count in Counter(name for tree in trees for name in class_names(tree)).items() if count > 1}


def python_names(source: str) -> set[str]:
    return {
        token.string for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.NAME
    }


def sql_names(sql: str) -> set[str]:
    return set(re.findall(r"\w+", " ".join(statements(sql))))


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_a_module_is_named_after_what_it_holds(path: Path) -> None:
    assert EMPTY_NAMES.isdisjoint(part.strip("_") for part in path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_a_module_is_named_with_a_noun(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    assert not is_gerund(inside)


def test_no_module_is_the_plural_of_its_neighbour() -> None:
    assert singulars(path.relative_to(PACKAGE) for path in modules()) == []


def test_a_class_name_exists_once_in_the_package() -> None:
    assert names_that_recur(map(parse, modules())) == set()


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_python_uses_the_words_of_the_vocabulary(path: Path) -> None:
    assert rivals(python_names(path.read_text(encoding="utf-8"))) == {}


@pytest.mark.parametrize("path", sql_files(), ids=shown)
def test_sql_uses_the_words_of_the_vocabulary(path: Path) -> None:
    assert rivals(sql_names(path.read_text(encoding="utf-8"))) == {}


@pytest.mark.parametrize(
    "name", ["originator", "originator_id", "TrackingRecorder", "topics", "OFFSET", "ConcurrencyManager"]
)
def test_a_rival_is_found(name: str) -> None:
    assert name in rivals(python_names(f"{name} = 1  # x"))
    assert name in rivals(sql_names(f"-- purpose\nSELECT {name} FROM events"))


@pytest.mark.parametrize(
    "source", ["@asynccontextmanager", "stopic = 1", "x = 'topic'", "# the offset", "AbstractContextManager"]
)
def test_other_words_are_left_alone(source: str) -> None:
    assert rivals(python_names(source)) == {}


@pytest.mark.parametrize("name", ["holding.py", "runtime/reporting.py", "reading/page.py"])
def test_a_gerund_is_found(name: str) -> None:
    assert is_gerund(Path(name))


@pytest.mark.parametrize("name", ["testing/clock.py", "strings.py", "ingest.py"])
def test_other_module_names_are_left_alone(name: str) -> None:
    assert not is_gerund(Path(name))


def test_a_pair_of_singular_and_plural_is_found() -> None:
    pair = [Path("cli/command.py"), Path("cli/commands.py"), Path("store.py"), Path("stores/memory.py")]
    assert singulars(pair) == [Path("cli/command.py")]


def test_a_class_name_that_recurs_is_found() -> None:
    trees = map(ast.parse, ["class Report: ...", "def f():\n    class Report: ...\nclass Other: ..."])
    assert names_that_recur(trees) == {"Report"}

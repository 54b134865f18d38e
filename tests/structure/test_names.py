"""One word per thing: modules are named after what they hold, and the words that lost don't come back."""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.structure.sources import PACKAGE, modules, shown, sql_files
from tests.structure.sql import statements

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc", "core", "types"}

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

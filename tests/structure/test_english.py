"""Phrases that a reader stumbles over, in the docstrings, comments and messages of the package and in the documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.sources import ROOT, modules, parse, shown, sql_files

INSTEAD = {
    r"who(?:so|m)?ever": "name the actor: the caller, the runner, the operator",
    r"(?:some|no|every|any)body": "name the actor, or use the passive",
    r"(?:those|one|ones) who|one's": "name the actor",
    r"he|him|his|she|her|hers": "name the actor",
    r"(?:is|are|was|were|be|been|being) told": "is notified, is passed, is logged",
    r"anew": "again",
    r"of ours|of yours": "the store's own, your own",
    r"mend(?:s|ed|ing)?": "repair, fix",
    r"befalls?|befell|befallen|becomes? of": "happens to",
    r"amid": "in the middle of",
    r"hindmost": "last, slowest",
    r"farewell": "the last message",
    r"lest": "so that ... not",
    r"stood|stands?(?!-| for| in for)": "is, is at, has the position",
    r"troubles?": "failure, error",
    r"deeds?": "action, audit entry",
    r"doubts?": "unknown outcome",
    r"bell|rings?": "notifier, notification",
}
PHRASES = {re.compile(rf"(?<![\w-])(?:{phrase})(?![\w-])", re.IGNORECASE): word for phrase, word in INSTEAD.items()}
CODE_OR_TEST = re.compile(r"^```.*?^```$|`[^`]+`|\[[^\]]*\]\([^)]*(?:tests|src)/[^)]*\)", re.MULTILINE | re.DOTALL)


def refused(text: str) -> dict[str, str]:
    """The phrases in `text` that are refused, each with what to write instead."""
    line = " ".join(text.split())
    return {match[0]: word for phrase, word in PHRASES.items() for match in phrase.finditer(line)}


def texts(path: Path) -> Iterator[str]:
    """What is written for readers in a file: of Python its strings and comments, of SQL its comments.

    Of a document it is everything but code, and the names of tests that it links to.
    """
    content = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            yield from strings(parse(path))
            yield " ".join(token.string.lstrip("# ") for token in comments(content))
        case ".sql":
            yield " ".join(re.findall(r"--\s*(.*)", content))
        case _:
            yield CODE_OR_TEST.sub(" ", content)


def strings(tree: ast.Module) -> Iterator[str]:
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return (text for text in found if " " in text)  # a single word is a name, such as that of the user `nobody`


def comments(source: str) -> Iterator[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return (token for token in tokens if token.type == tokenize.COMMENT)


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def programs() -> list[Path]:
    """The modules and documents of the examples and the benchmarks."""
    found = [path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.*")]
    return sorted(path for path in found if path.suffix in {".py", ".md", ".sql"})


@pytest.mark.parametrize("path", [*modules(), *sql_files(), *documents(), *programs()], ids=shown)
def test_the_english_is_plain(path: Path) -> None:
    assert {phrase: word for text in texts(path) for phrase, word in refused(text).items()} == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", '"""Whoever reads this is right."""\n'),
        ("a.py", 'raise ValueError(f"{name}: nobody is here")\n'),
        ("a.py", "x = 1  # it begins\n# anew\n"),
        ("a.py", '"""The observer is\n    told."""\n'),
        ("a.sql", "-- Where the segment stands.\nSELECT 1\n"),
        ("a.md", "# Heads\n\nA server of\nyours.\n"),
        ("a.md", "The user `nobody` is told.\n"),
    ],
)
def test_a_refused_phrase_is_found(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")

    assert [phrase for text in texts(path) for phrase in refused(text)]


def test_code_and_the_names_of_tests_in_a_document_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("`nobody` [nobody waits](../tests/test_a.py)\n\n```sh\nwhoever\n```\n", encoding="utf-8")

    assert [phrase for text in texts(path) for phrase in refused(text)] == []


@pytest.mark.parametrize("text", ["understand", "`position` stands for a place", "a stand-in", "indeed", "the string"])
def test_other_phrases_are_left_alone(text: str) -> None:
    assert refused(text) == {}

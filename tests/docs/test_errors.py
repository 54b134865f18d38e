"""The page on errors names every error that users can catch."""

import re

import perdure
from tests.docs.documents import ROOT, prose

PAGE = ROOT / "docs" / "errors.md"
CODE = re.compile(r"`([^`\n]+)`")


def exported_errors() -> set[str]:
    found = ((name, getattr(perdure, name)) for name in perdure.__all__)
    return {name for name, thing in found if isinstance(thing, type) and issubclass(thing, Exception)}


def missing_errors(page: str) -> list[str]:
    """The exported errors that the text of the page doesn't name."""
    named = {name for code in CODE.findall(prose(page)) for name in re.findall(r"\w+", code)}
    return sorted(exported_errors() - named)


def test_the_page_names_every_exported_error() -> None:
    assert len(exported_errors()) > 50
    assert missing_errors(PAGE.read_text(encoding="utf-8")) == []


def test_a_missing_error_is_found() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("AggregateNotFoundError", "AnotherError")

    assert missing_errors(page) == ["AggregateNotFoundError"]

"""The examples in docstrings work."""

import ast
import doctest
import importlib
import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.structure.sources import PACKAGE, modules, parse, shown

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
EXAMPLE = re.compile(r"^Example:\n(?P<text>(?:    .*\n|\n)+)", re.MULTILINE)


def with_prompts() -> list[Path]:
    return [path for path in modules() if ">>> " in path.read_text(encoding="utf-8")]


def examples_without_prompts(path: Path) -> list[str]:
    """Examples that need a database or an event loop, so that they can only be compiled."""
    nodes = [node for node in ast.walk(parse(path)) if isinstance(node, DOCUMENTED)]
    texts = [f"{ast.get_docstring(node) or ''}\n" for node in nodes]
    found = [match["text"] for text in texts for match in EXAMPLE.finditer(text)]
    return [dedent(text) for text in found if ">>>" not in text]


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("path", with_prompts(), ids=shown)
def test_the_examples_of_a_module_print_their_output(path: Path) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")

    outcome = doctest.testmod(importlib.import_module(name))

    assert outcome.attempted
    assert not outcome.failed


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_the_other_examples_of_a_module_are_python(path: Path) -> None:
    for text in examples_without_prompts(path):
        compile(text, shown(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_examples_exist() -> None:
    assert len(with_prompts()) > 5
    assert sum(len(examples_without_prompts(path)) for path in modules()) > 3

"""Log records tell what they are about under the names of spans and metrics, and nothing of payloads."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.sources import modules, parse, shown

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def log_calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("logger"), attr=level)) if level in LEVELS:
                yield node


def without_keys(tree: ast.Module) -> list[int]:
    """The lines of log calls that don't say what they are about: by `keys`, or a name that was given what it made."""
    made = {
        node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_keys(node.value) and isinstance(node.targets[0], ast.Name)
    }
    extras = {call.lineno: [one.value for one in call.keywords if one.arg == "extra"] for call in log_calls(tree)}
    return [
        line
        for line, extra in extras.items()
        if not any(is_keys(value) or (isinstance(value, ast.Name) and value.id in made) for value in extra)
    ]


def is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "keys"


def logger_names(tree: ast.Module) -> list[object]:
    return [
        node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "getLogger"
    ]


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_a_log_record_says_what_it_is_about(path: Path) -> None:
    assert without_keys(parse(path)) == []


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_a_logger_is_named_after_its_subject(path: Path) -> None:
    assert all(isinstance(name, str) and name.count(".") == 1 for name in logger_names(parse(path)))
    assert all(str(name).startswith("perdure.") for name in logger_names(parse(path)))


@pytest.mark.parametrize("call", ["logger.debug('x')", "logger.error('x', extra={})", "logger.error('x', extra=other)"])
def test_a_record_that_says_nothing_is_found(call: str) -> None:
    assert without_keys(ast.parse(f"told = keys(operation='a')\n{call}")) == [2]


@pytest.mark.parametrize("extra", ["keys(operation='a')", "told"])
def test_a_record_that_says_it_is_left_alone(extra: str) -> None:
    assert without_keys(ast.parse(f"told = keys(operation='a')\nlogger.debug('x', extra={extra})")) == []

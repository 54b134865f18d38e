"""Sizes are tested, not left to taste. The figures come from Python packages that are a pleasure to read."""

import ast
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.structure.sources import ROOT, functions, modules, parse, shown

MODULE_LIMIT, MODULE_MEDIAN = 400, 160
BODY_LIMIT, BODY_MEDIAN, BODY_P90 = 60, 8, 22


def module_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int | None:
    """Lines of the body without the docstring; None for stubs, which would only flatter the median."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body or (isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)):
        return None
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def bodies(tree: ast.Module) -> dict[str, int]:
    measured = ((f"{function.lineno} {function.name}", body_lines(function)) for function in functions(tree))
    return {name: lines for name, lines in measured if lines is not None}


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_no_module_is_long(path: Path) -> None:
    assert module_lines(path) <= MODULE_LIMIT, "split it by what it holds"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=shown)
def test_no_test_module_is_long(path: Path) -> None:
    assert module_lines(path) <= MODULE_LIMIT, "split it by what it tests"


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_no_function_is_long(path: Path) -> None:
    assert {name: lines for name, lines in bodies(parse(path)).items() if lines > BODY_LIMIT} == {}


def test_half_of_the_modules_are_short() -> None:
    assert median(lines for path in modules() if (lines := module_lines(path))) <= MODULE_MEDIAN


def test_half_of_the_functions_are_short_and_nine_in_ten_fit_on_a_screen() -> None:
    lines = [count for path in modules() for count in bodies(parse(path)).values()]

    assert median(lines) <= BODY_MEDIAN
    assert quantiles(lines, n=10)[-1] <= BODY_P90


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def f():\n    return 1", 1),
        ('def f():\n    """Say\n\n    more.\n    """\n    a = 1\n\n    return a', 3),
        ("async def f():\n    return [\n        1,\n    ]", 3),
        ("def f(): ...", None),
        ('def f():\n    """A stub."""', None),
    ],
)
def test_a_body_is_counted_without_its_docstring(source: str, lines: int | None) -> None:
    assert [body_lines(function) for function in functions(ast.parse(source))] == [lines]

"""What the tests of structure look at: the package's modules, functions and SQL files."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "perdure"
FOLDERS = ("src", "tests", "examples", "benchmarks", "docs", ".ci", ".github")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def sql_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.sql"))


def project_files() -> list[Path]:
    """Every text that the project ships. It doesn't ask git, which a fresh machine may lack."""
    loose = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml"} or path.name in {"Makefile", "LICENSE"}]
    nested = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(
        path for path in loose + nested if path.is_file() and path.suffix != ".png" and "__pycache__" not in path.parts
    )


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings, of attributes too: strings that stand alone."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))

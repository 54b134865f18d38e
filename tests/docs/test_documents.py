"""Programs in the documents run, fragments use existing names, and links have targets."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import perdure
from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks, programs, prose, run, shown

PROJECT = ("perdure", "examples")
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"@?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


def missing_names(source: str) -> list[str]:
    """The project's names that the source imports or looks up, and that don't exist."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROJECT:
            module = importlib.import_module(node.module or "")
            missing += [
                alias.name for alias in node.names if not has(module, alias.name) and not within(module, alias.name)
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "perdure":
            missing += [] if has(perdure, node.attr) else [node.attr]
    return missing


def has(module: ModuleType, path: str) -> bool:
    """Whether the module has the name, or the class in it the attribute."""
    thing: object = module
    for name in path.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def within(module: ModuleType, name: str) -> bool:
    """Whether the module is a package that holds a module of that name, imported so far or not."""
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None


def anchor(heading: str) -> str:
    """The anchor of a heading, as the usual renderers of Markdown make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def dead_links(path: Path) -> list[str]:
    """The relative links without a target."""
    targets = [match["target"] for match in LINK.finditer(prose(path.read_text(encoding="utf-8")))]
    return [target for target in targets if "://" not in target and not has_target(path, target)]


def has_target(path: Path, target: str) -> bool:
    name, _, fragment = target.partition("#")
    aim = path.parent / name if name else path
    if not fragment or not aim.exists():
        return aim.exists()
    headings = re.findall(r"^#+ (.+)$", prose(aim.read_text(encoding="utf-8")), re.MULTILINE)
    return fragment in map(anchor, headings)


def replacing_names(document: str) -> set[str]:
    """The names in the second column of tables with three columns, which list the tutorial's name before Perdure's."""
    rows = [row.strip("|").split(" | ") for row in document.splitlines() if row.startswith("| `")]
    return {match[1] for row in rows if len(row) == 3 for code in CODE.findall(row[1]) if (match := NAME.match(code))}


@pytest.mark.parametrize(
    ("path", "number"),
    [(path, number) for path in DOCUMENTS if path.parent != ROOT for number in range(len(programs(path)))],
    ids=lambda value: shown(value) if isinstance(value, Path) else str(value + 1),
)
def test_a_program_of_a_document_prints_its_output(path: Path, number: int, tmp_path: Path, database_url: str) -> None:
    """Each program begins with an empty store."""
    program = programs(path)[number]
    file = tmp_path / "program.py"
    file.write_text(program.text, encoding="utf-8")

    outcome = run(file, os.environ | {"PERDURE_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)})

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == program.output


def test_a_second_run_of_the_tutorials_first_program_is_refused(tmp_path: Path, database_url: str) -> None:
    """As the page says."""
    file = tmp_path / "program.py"
    file.write_text(programs(ROOT / "docs" / "from-the-tutorial.md")[0].text, encoding="utf-8")
    environment = os.environ | {"PERDURE_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}

    assert run(file, environment).returncode == 0
    assert "AggregateExistsError: there is a stream 'user-123' already" in run(file, environment).stderr


def test_the_programs_pass_the_strict_type_checker(tmp_path: Path) -> None:
    files = []
    for path in DOCUMENTS:
        for number, program in enumerate(programs(path), 1):
            files.append(f"{path.stem.replace('-', '_').lower()}_{number}.py")
            (tmp_path / files[-1]).write_text(program.text, encoding="utf-8")

    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files]
    outcome = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert outcome.stdout + outcome.stderr == ""


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_the_python_of_a_document_uses_existing_names(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "python"):
        compile(block.text, shown(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert missing_names(block.text) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_the_links_of_a_document_have_targets(path: Path) -> None:
    assert dead_links(path) == []


def test_every_document_is_listed() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {match["target"] for match in LINK.finditer(index.read_text(encoding="utf-8"))}

    assert {str(path.relative_to(index.parent)) for path in index.parent.glob("*.md") if path != index} <= listed


def test_the_names_that_replace_those_of_the_tutorial_exist() -> None:
    names = replacing_names((ROOT / "docs" / "from-the-tutorial.md").read_text(encoding="utf-8"))

    assert len(names) > 15
    assert [name for name in sorted(names) if not has(perdure, name.removeprefix("perdure."))] == []


def test_programs_and_fragments_are_distinguished() -> None:
    document = "```python\na\n```\n\n```text\n1\n```\n\n```python\nb\n```\n\nprints\n\n```text\n2\n```\n"

    assert blocks(document, "python") == [Block("python", "a\n", "1\n"), Block("python", "b\n", None)]


@pytest.mark.parametrize("source", ["from perdure import nothing", "import perdure\nperdure.nothing()"])
def test_a_missing_name_is_found(source: str) -> None:
    assert missing_names(source) == ["nothing"]


@pytest.mark.parametrize("target", ["gone.md", "README.md#gone", "#gone"])
def test_a_link_without_a_target_is_found(target: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Here\n\n[x]({target}) [y](#here) [z](README.md) [w](https://example.com)")

    assert dead_links(tmp_path / "README.md") == [target]

"""No module of the package imports itself by way of others, not even for its types."""

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.structure.sources import PACKAGE, modules, parse


def name_of(parts: tuple[str, ...]) -> str:
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in modules()}


def imported(tree: ast.Module, package: str, known: Mapping[str, object]) -> Iterator[str]:
    """The known modules that a module imports anywhere: also within functions and for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found = [name for name in (f"{module}.{alias.name}", module) if name in known]
                yield from found[:1]


def imports() -> dict[str, set[str]]:
    """What each module imports. The front is left out: it imports all, and nothing may import it."""
    graph = {
        name: set(imported(parse(path), name if path.stem == "__init__" else name.rpartition(".")[0], MODULES))
        for name, path in MODULES.items()
    }
    graph.pop("perdure")
    return {name: targets - {name, "perdure"} for name, targets in graph.items()}


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of an import cycle, in order; none if there is no cycle."""
    done = set[str]()
    for start in sorted(graph):
        path: list[str] = []
        rest: list[Iterator[str]] = [iter([start])]
        while rest:
            target = next(rest[-1], None)
            if target is None:
                rest.pop()
                done.update([path.pop()] if path else [])
            elif target in path:
                return [*path[path.index(target) :], target]
            elif target not in done:
                path.append(target)
                rest.append(iter(sorted(graph.get(target, ()))))
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert cycle_in(imports()) == []


def test_all_modules_are_looked_at() -> None:
    graph = imports()

    assert len(graph) > 200
    assert {"perdure.store", "perdure.log"} <= graph["perdure.stores.memory"]


@pytest.mark.parametrize("target", ["perdure.store", "perdure.stores.postgres.store", "perdure.health"])
def test_a_cycle_is_found(target: str) -> None:
    graph = imports()
    graph["perdure.errors.formats"] = {*graph["perdure.errors.formats"], target}

    cycle = cycle_in(graph)
    assert cycle[0] == cycle[-1]
    assert {target, "perdure.errors.formats"} <= set(cycle)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b", ["a.b"]),
        ("from a import b", ["a.b"]),
        ("from a.b import thing", ["a.b"]),
        ("from . import b", ["a.b"]),
        ("from .b import thing", ["a.b"]),
        ("from elsewhere import b", []),
        ("if TYPE_CHECKING:\n    from a import b", ["a.b"]),
        ("def f():\n    from a import b", ["a.b"]),
    ],
)
def test_an_import_is_found_wherever_it_is(source: str, found: list[str]) -> None:
    assert list(imported(ast.parse(source), "a", {"a": 1, "a.b": 1})) == found

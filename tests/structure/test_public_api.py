"""The front, `import perdure`: light, complete and documented."""

import ast
import inspect
import subprocess
import sys
from collections import Counter

import pytest

import perdure
from tests.structure.sources import PACKAGE, parse

CORE = {"perdure", "asyncpg", "msgspec", "uuid_utils", "typing_extensions"}  # the last: msgspec takes it if it is there

LOADED = """
import importlib.metadata, sys
before = set(sys.modules)
import perdure
{then}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded & set(importlib.metadata.packages_distributions())))
"""


def third_parties_loaded(then: str = "") -> set[str]:
    """What `import perdure` loads beyond the standard library, in a process of its own."""
    script = LOADED.format(then=then)
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def own_docstring(thing: object) -> str | None:
    """The docstring that somebody wrote for it: neither inherited, nor made by dataclass."""
    written = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    generated = isinstance(thing, type) and isinstance(written, str) and written.startswith(f"{thing.__name__}(")
    return written if isinstance(written, str) and not generated else None


def test_importing_it_loads_nothing_that_is_optional() -> None:
    assert third_parties_loaded() <= CORE


def test_using_every_name_loads_nothing_that_is_optional() -> None:
    assert third_parties_loaded("[getattr(perdure, name) for name in perdure.__all__]") <= CORE


def test_every_exported_name_is_there_and_documented() -> None:
    things = {name: getattr(perdure, name) for name in perdure.__all__}
    classes_and_functions = {
        name for name, thing in things.items() if inspect.isclass(thing) or inspect.isroutine(thing)
    }

    assert [name for name in sorted(classes_and_functions) if not own_docstring(things[name])] == []


def test_every_name_is_exported_once() -> None:
    things = [getattr(perdure, name) for name in perdure.__all__]
    objects = Counter(id(thing) for thing in things if inspect.isclass(thing) or inspect.isroutine(thing))

    assert [name for name, count in Counter(perdure.__all__).items() if count > 1] == []
    assert [thing for thing in things if objects[id(thing)] > 1] == []


def test_type_checkers_and_dir_see_the_names_that_are_exported() -> None:
    bound = {
        alias.asname or alias.name
        for node in ast.walk(parse(PACKAGE / "__init__.py"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perdure")
        for alias in node.names
    }

    assert {name for name in perdure.__all__ if not name.startswith("__")} == bound
    assert set(perdure.__all__) <= set(dir(perdure))


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = perdure.no_such_name  # type: ignore[attr-defined] # the point: it isn't there

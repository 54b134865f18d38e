"""Every background task has an owner, and a test that injects an error into it."""

import ast
from collections.abc import Iterator

import pytest

from tests.faulty_tasks import TASKS
from tests.structure.sources import PACKAGE, modules, parse

STARTERS = {"create_task", "ensure_future", "TaskGroup", "run_coroutine_threadsafe"}
OWNED = {"keep", "start"}
"""Methods of `perdure.tasks.Tasks` that start a task."""

BARE = {
    "tasks.py Tasks._start": "the owner itself",
    "health.py _all": "answers one request; what it doesn't wait for is cancelled",
    "cli/events.py _next_or_none": "waits for one of two things, and cancels the other",
    "projections/engines/custom/transaction.py QueueingTransaction.kept_alive": "ends with its block, which raises",
    "repository/command_queue.py CommandQueue.serve": "ends when no command waits; its callers get its error",
    "repository/command_queue.py CommandQueue._run": "is awaited at once, in the context of the caller",
    "stores/postgres/embedded/owner_process.py run_as_owner": "is awaited at once, so that being cancelled ends it",
    "stores/postgres/embedded/owner_actions.py _run": "is awaited at once, in a process of its own",
    "stores/postgres/embedded/account.py Account.run": "is awaited at once, so that being cancelled kills a process",
    "stores/postgres/schema/lock_watch.py LockWatch.over": "ends with its block, which awaits it",
}
"""Where a task is started without an owner, and why that is safe: it ends with what has started it."""
TOOLS = ("testing/",)
"""Programs of tests, which await their tasks."""


def calls(tree: ast.AST, path: str = "") -> Iterator[tuple[str, ast.Call]]:
    """The calls in a module, each with the path of the function or class that it is in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from calls(node, f"{path}.{node.name}" if path else node.name)
        else:
            if isinstance(node, ast.Call):
                yield path, node
            yield from calls(node, path)


def called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def bare_tasks(tree: ast.Module) -> set[str]:
    """The functions that start a task without an owner."""
    return {path for path, call in calls(tree) if called(call) in STARTERS}


def owned_tasks(tree: ast.Module) -> set[str]:
    """The functions that start a task of an owner, by a call of `keep` or `start` on what is called tasks."""
    return {
        path
        for path, call in calls(tree)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in OWNED
        and ast.unparse(call.func.value).rpartition(".")[2].strip("_") == "tasks"
    }


def found(where: object) -> set[str]:
    assert callable(where)
    return {
        f"{path.relative_to(PACKAGE)} {function}"
        for path in modules()
        if not str(path.relative_to(PACKAGE)).startswith(TOOLS)
        for function in where(parse(path))
    }


def test_no_task_is_started_without_an_owner_but_those_that_end_with_what_has_started_them() -> None:
    assert found(bare_tasks) == set(BARE)


def test_an_error_is_injected_into_every_task_of_an_owner() -> None:
    assert found(owned_tasks) == set(TASKS)


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.create_task(f())",
        "loop.create_task(f())",
        "x = create_task(f())",
        "asyncio.ensure_future(f())",
        "async with asyncio.TaskGroup() as group: pass",
    ],
)
def test_a_task_without_an_owner_is_found(source: str) -> None:
    tree = ast.parse(f"class A:\n    async def g(self):\n        {source}")
    assert bare_tasks(tree) == {"A.g"}


@pytest.mark.parametrize("source", ["self._tasks.keep(f, 'x')", "tasks.start(f, 'x')", "self._log.tasks.start(f, 'x')"])
def test_a_task_of_an_owner_is_found(source: str) -> None:
    assert owned_tasks(ast.parse(f"def g(self):\n    {source}")) == {"g"}

"""The matrix is complete: a public call or parameter without its row fails here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import perdure
import perdure.schema
import perdure.testing
from perdure.log import Selection
from tests.bad_input.all_calls import ALL

MADE_BY_PERDURE: Final = {
    "AppendResult",
    "CausedEvent",
    "CheckedType",
    "ChildRows",
    "ChildTable",
    "DeciderOutcome",
    "Delivery",
    "DeciderScenario",
    "EventFailure",
    "EventMetadata",
    "EventStore",
    "EvolutionReport",
    "JoinedTransaction",
    "FenceHolder",
    "LockHolder",
    "Message",
    "MessagePublisher",
    "Outcome",
    "ParkedEvent",
    "PostgreSQLTransaction",
    "ProcessTimer",
    "ProjectionAction",
    "ProjectionCheck",
    "ProjectionStatus",
    "ProjectionTransaction",
    "RowPage",
    "Scenario",
    "SegmentStatus",
    "StoredEvent",
    "StoredType",
    "Subscription",
    "TableDifference",
    "TimerStatus",
    "Transaction",
}
"""Classes whose instances users are given: nothing is checked where they are made."""
CARRIES: Final = {"StreamAppend"}
"""A tuple with names, which is checked where it is handed in."""
ABOVE_THE_PORT: Final = {
    "StreamReads.check_transaction",
    "PostgreSQLTransaction.append",
    "PostgreSQLTransaction.append_group",
    "PostgreSQLTransaction.is_of",
}
"""For the store that made the transaction."""


def public_calls() -> dict[str, set[str]]:
    """The parameters of every function, constructor and method that users can call, by the call's name."""
    calls: dict[str, set[str]] = {}
    for module in (perdure, perdure.testing):
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            if name.startswith("_") or not callable(thing) or inspect.ismodule(thing):
                continue
            if not isinstance(thing, type):
                calls[name] = parameters(thing)
            elif not issubclass(thing, BaseException):
                calls |= calls_of(thing)
    for name in perdure.schema.__all__:
        thing = getattr(perdure.schema, name)
        if inspect.isfunction(thing):
            calls[f"schema.{name}"] = parameters(thing)
    return calls


def calls_of(cls: type) -> dict[str, set[str]]:
    found = {cls.__name__: parameters(cls)}
    if "__init_subclass__" in vars(cls):
        found[f"{cls.__name__}.__init_subclass__"] = parameters(vars(cls)["__init_subclass__"].__func__)
    for name, member in inspect.getmembers(cls, callable):
        owners = [owner for owner in cls.__mro__ if name in vars(owner) and owner.__module__.startswith("perdure.")]
        if not name.startswith("_") and owners:
            found[f"{owners[-1].__name__}.{name}"] = parameters(member)
    return found


def parameters(function: Callable[..., Any]) -> set[str]:
    """The names of its parameters; those behind ``**where`` one by one."""
    found: set[str] = set()
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.VAR_KEYWORD and one.name == "where":
            found |= Selection.__annotations__.keys()
        elif one.name not in ("self", "cls", "kwargs", "rest"):
            found.add(one.name)
    return found


def test_every_public_call_has_its_row() -> None:
    with_parameters = {name for name, parameters in public_calls().items() if parameters}

    assert with_parameters - ALL.keys() == (MADE_BY_PERDURE | CARRIES | ABOVE_THE_PORT) & with_parameters


def test_every_parameter_has_its_column() -> None:
    calls = public_calls()

    assert {
        name: calls[name] ^ call.bad.keys()
        for name, call in ALL.items()
        if name in calls and calls[name] != call.bad.keys()
    } == {}


def test_a_row_is_of_a_public_call() -> None:
    decorators = {"event()", "upcast()"}

    assert ALL.keys() - public_calls().keys() == decorators

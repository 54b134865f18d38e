"""Calling an action with an aggregate: in one go, and under the name of its command if it has one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function
from perdure.context import context, current_context
from perdure.errors import InvalidArgumentError
from perdure.repository.command_id import CommandId

A = TypeVar("A", bound=AggregateRoot)


def check_action(action: object) -> None:
    """Raise InvalidArgumentError unless it is a function that isn't asynchronous."""
    check_function("action", action)
    if inspect.iscoroutinefunction(action):
        raise _asynchronous()


def act(action: Callable[[A], object], aggregate: A, command: CommandId | None) -> None:
    """Call the action. The command, if it has a name, causes the events, and gives them their ids."""
    if command is None:
        _call(action, aggregate)
        return
    with context(causation_id=current_context().causation_id or command.text):
        _call(action, aggregate)
    command.claim(aggregate)


def _call(action: Callable[[A], object], aggregate: A) -> None:
    answer = action(aggregate)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise _asynchronous()


def _asynchronous() -> InvalidArgumentError:
    return InvalidArgumentError(
        "action", "is asynchronous, but it must decide in one go: await what it needs first, and give it plain values"
    )

"""`@command`, which records calls of a method, so that they can run again after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from perdure.aggregate.definition import COMMAND_MARK
from perdure.aggregate.root import AggregateRoot
from perdure.aggregate.uncommitted import RecordedCommand, Undo
from perdure.checks import check_function
from perdure.context import current_context, restored
from perdure.copies import own_copy
from perdure.errors import AggregateBusyError, InvalidArgumentError

A = TypeVar("A", bound=AggregateRoot)
P = ParamSpec("P")
R = TypeVar("R")


def command(method: Callable[Concatenate[A, P], R]) -> Callable[Concatenate[A, P], R]:
    """Make a method a command: it checks business rules, and raises all of its events or none.

    If the method raises an exception, its events and changes of state are undone. For that, every call first copies
    the whole state. Each call is recorded with a copy of its arguments, so that `save_with_retry` can
    run it again on fresh state. Commands that it calls are part of it. A command must be synchronous, and its arguments
    must be values: fetch data from elsewhere first, and pass it in.

    Raises:
        AggregateDefinitionError: the method is asynchronous. Raised when the class is created.
        InvalidArgumentError: it isn't a method; or, at a call, an argument can't be copied.

    Example:
        >>> from perdure import AggregateRoot, DomainError, command
        >>> class Ticket(AggregateRoot, category="ticket"):
        ...     @command
        ...     def close(self, reason: str) -> None:
        ...         if not reason:
        ...             raise DomainError("say why")
    """
    check_function("method", method)
    if isinstance(method, type | staticmethod):
        raise InvalidArgumentError("method", "must take the aggregate: a class or a static method doesn't")

    @wraps(method)
    def call(self: A, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with _recorded(self, call, args, kwargs):
            return method(self, *args, **kwargs)

    setattr(call, COMMAND_MARK, True)
    return call


def decide_again(commands: list[RecordedCommand], aggregate: AggregateRoot) -> None:
    """Run recorded commands on another instance, each in the context of its first call."""
    for one in commands:
        args, kwargs = own_copy((one.args, one.kwargs))
        with restored(one.context):
            one.method(aggregate, *args, **kwargs)


def adopt(aggregate: AggregateRoot, other: AggregateRoot) -> None:
    """Move the state, version and uncommitted events of another instance to the aggregate."""
    vars(aggregate).clear()
    vars(aggregate).update(vars(other))
    aggregate.stream_version = other.stream_version
    aggregate.snapshot_version = other.snapshot_version
    aggregate.uncommitted = other.uncommitted


@contextmanager
def _recorded(
    aggregate: AggregateRoot, method: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Generator[None]:
    work = aggregate.uncommitted
    if work.held:
        raise AggregateBusyError(aggregate.stream_id)
    before = aggregate.stream_version
    copies = None if work.running else _copied(method, args, kwargs)
    undo = Undo(before, len(work.events), own_copy(vars(aggregate), {id(aggregate): aggregate}))
    work.running.append(undo)
    try:
        yield
    except BaseException:
        _take_back(aggregate, undo)
        raise
    finally:
        work.running.pop()
    if copies is not None:
        work.commands.append(RecordedCommand(method, *copies, current_context(), before, aggregate.stream_version))


def _take_back(aggregate: AggregateRoot, undo: Undo) -> None:
    vars(aggregate).clear()
    vars(aggregate).update(undo.state)
    aggregate.stream_version = undo.version
    del aggregate.uncommitted.events[undo.event_count :]


def _copied(
    method: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    try:
        return own_copy((args, kwargs))
    except Exception as error:
        name = getattr(method, "__name__", "a command")
        raise InvalidArgumentError(
            "arguments", f"of {name}() can't be copied ({error}): give commands values, not services"
        ) from error

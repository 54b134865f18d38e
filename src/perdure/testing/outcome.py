"""The outcome of a command in a test: the events that it raised, or an error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Generic, Self, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.events import registry

A = TypeVar("A", bound=AggregateRoot)
S = TypeVar("S")


class Raised:
    """The events or error of a command. Check them with the `then` methods, which can be chained.

    Attributes:
        events: The events.
        error: The exception, or None.
    """

    def __init__(self, events: Sequence[object], error: Exception | None) -> None:
        self.events = tuple(events)
        self.error = error

    def then(self, *events: object) -> Self:
        """Assert that exactly these events were raised, in this order, equal in type and all fields."""
        self._refuse_error()
        expected = [as_stored(one) for one in events]
        if [_content(one) for one in expected] != [_content(one) for one in self.events]:
            shown = _difference(_lines_of_events(expected), _lines_of_events(self.events))
            raise AssertionError(f"other events were raised:\n{shown}")
        return self

    def then_nothing(self) -> Self:
        """Assert that neither an event nor an error was raised."""
        return self.then()

    def then_raises(self, error: type[BaseException], match: str | None = None) -> Self:
        """Assert that an error of a class was raised. `match` is a regular expression to find in its text."""
        if not isinstance(error, type) or not issubclass(error, BaseException):
            raise InvalidArgumentError("error", f"must be a class of errors, not {shown(error)}")
        pattern = _pattern(match)
        if self.error is None:
            found = "\n".join(_lines_of_events(self.events)) or "nothing"
            raise AssertionError(f"{error.__name__} was expected, but it raised:\n{found}")
        if not isinstance(self.error, error):
            raise AssertionError(f"{error.__name__} was expected, but it raised {self.error!r}") from self.error  # noqa: TRY004 - a test failed
        if pattern is not None and not pattern.search(str(self.error)):
            raise AssertionError(f"{match!r} isn't found in {str(self.error)!r}") from self.error
        return self

    def _refuse_error(self) -> None:
        if self.error is not None:
            raise AssertionError(f"it raised {self.error!r}") from self.error


class Outcome(Raised, Generic[A]):
    """The outcome of an action on an aggregate. Check it with the `then` methods, which can be chained.

    Attributes:
        aggregate: The aggregate after the action.
    """

    def __init__(self, aggregate: A, events: Sequence[object], error: Exception | None) -> None:
        super().__init__(events, error)
        self.aggregate = aggregate

    def then_state(self, **expected: object) -> Self:
        """Assert that the named fields of the aggregate have these values."""
        self._refuse_error()
        state = vars(self.aggregate)
        if unknown := sorted(expected.keys() - state.keys()):
            kind = type(self.aggregate).__name__
            raise AssertionError(f"{kind} has no field {unknown[0]!r}; it has: {', '.join(state) or 'none'}")
        found = {name: state[name] for name in expected}
        if found != expected:
            raise AssertionError(f"the state differs:\n{_difference(_lines(expected), _lines(found))}")
        return self


class DeciderOutcome(Raised, Generic[S]):
    """The outcome of a command to a decider. Check it with the `then` methods, which can be chained.

    Attributes:
        state: The state after the events.
    """

    def __init__(self, state: S, events: Sequence[object], error: Exception | None) -> None:
        super().__init__(events, error)
        self.state = state

    def then_state(self, expected: S) -> Self:
        """Assert that the events result in this state."""
        self._refuse_error()
        if self.state != expected:
            shown = _difference([repr(expected)], [repr(self.state)])
            raise AssertionError(f"the state differs:\n{shown}")
        return self


def _pattern(match: object) -> re.Pattern[str] | None:
    if match is None:
        return None
    if not isinstance(match, str):
        raise InvalidArgumentError("match", f"must be a regular expression, not {shown(match)}")
    try:
        return re.compile(match)
    except re.error as error:
        raise InvalidArgumentError("match", f"{shown(match)} isn't a regular expression: {error}") from None


def as_stored(event: object) -> object:
    """Return the event as a store would return it."""
    codec = registry.by_class(type(event)).codec
    stored: object = codec.decode(codec.encode(event))
    return stored


def _content(event: object) -> tuple[type, dict[str, object]]:
    return type(event), dict(registry.by_class(type(event)).codec.fields(event))


def _lines_of_events(events: Sequence[object]) -> list[str]:
    lines: list[str] = []
    for event in events:
        cls, fields = _content(event)
        lines += [f"{cls.__name__}(", *(f"    {line}," for line in _lines(fields)), ")"]
    return lines


def _lines(fields: Mapping[str, object]) -> list[str]:
    return [f"{name}={value!r}" for name, value in fields.items()]


def _difference(expected: Sequence[str], found: Sequence[str]) -> str:
    lines = [line.rstrip() for line in difflib.ndiff(expected, found) if not line.startswith("?")]
    return "\n".join(["- expected", "+ found", *lines])

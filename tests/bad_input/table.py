"""The form of the tables: public calls, what they take, and what they must refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from perdure import InvalidArgumentError, PerdureError
from tests.bad_input.world import World


class Refused(NamedTuple):
    """Values that a parameter must refuse, and how."""

    values: Sequence[object]
    error: type[PerdureError] | tuple[type[PerdureError], ...]
    named: str | None
    """What the message names, where that isn't the parameter."""


def refused(
    values: Sequence[object],
    error: type[PerdureError] | tuple[type[PerdureError], ...] = InvalidArgumentError,
    named: str | None = None,
) -> Refused:
    """Values that a parameter must refuse: with an InvalidArgumentError that names it, unless told otherwise."""
    return Refused(values, error, named)


class Call(NamedTuple):
    """A public call.

    Attributes:
        good: arguments that it takes: so what is refused is refused for the one bad value.
        bad: for each parameter what it must refuse, or why it takes everything.
        function: how to call it, where arguments by name won't do.
    """

    good: Callable[[World], Mapping[str, Any]]
    bad: Mapping[str, Sequence[Refused] | str]
    function: Callable[[World], Callable[..., Any]] | None = None


Table = Mapping[str, Call]
"""Calls by their names: `connect`, `Repository` (its constructor), `Repository.load`."""


def none(_: World) -> Mapping[str, Any]:
    """No arguments."""
    return {}


NO_ARGUMENTS: Final = Call(none, {})
CHECKED: Final = "what a store implements: the public call before it has checked this"
USERS_OWN: Final = "the user's own, handed on as it is"

"""`Decider`: an aggregate written as functions. Repositories and scenarios treat it as an aggregate of one field."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from perdure.aggregate import AggregateRoot
from perdure.checks import check_count, check_flag, check_function, check_takes
from perdure.errors import InvalidArgumentError, UnhandledEventError
from perdure.events import StoredEvent, check_own_category, field

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

_PARAMETERS: Final = {"initial_state": (), "decide": ("command", "state"), "evolve": ("state", "event")}
"""What each function of a decider is called with."""


@dataclass(frozen=True, kw_only=True)
class Decider(Generic[C, E, S]):
    """Rules as pure functions: which events a command leads to, and which state an event leads to.

    Give the types, ``Decider[Command, Event, State](...)``, and type checkers compare both functions with them.

    Args:
        category: the first part of its streams' ids: ``cart`` for ``cart-123``.
        initial_state: returns the state before the first event: its class, or a function.
        decide: returns the event, or the list of events, that a command leads to in a state; ``[]`` for none. Raises an
            error if a rule forbids the command.
        evolve: returns the state after an event. It is called with every event of the stream, and must refuse none.
        state_version: the version of `evolve`. Count it up when `evolve` changes: older snapshots aren't used then.
        strict: whether `evolve` must return a state for every event. If it returns None, as a ``match`` without a case
            for the event does, the event is an UnhandledEventError.

    Raises:
        InvalidArgumentError: the category or the version isn't valid, or a function can't be called with what it gets,
            or is asynchronous.

    Example:
        cart = Decider[CartCommand, CartEvent, Cart](category="cart", initial_state=Cart, decide=decide, evolve=evolve)
        carts = DeciderRepository(cart, store)
        await carts.execute("123", AddItem(sku="heat-dvd"))
    """

    category: str
    initial_state: Callable[[], S]
    decide: Callable[[C, S], E | Sequence[E]]
    evolve: Callable[[S, E], S]
    state_version: int = 1
    strict: bool = False

    def __post_init__(self) -> None:
        check_own_category(self.category)
        for name, parameters in _PARAMETERS.items():
            function = getattr(self, name)
            check_function(name, function)
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                raise InvalidArgumentError(name, "is asynchronous: fetch first, and pass what it needs in the command")
            check_takes(name, function, *parameters)
        check_flag("strict", self.strict)
        check_count("state_version", self.state_version, 1, 2**31 - 1)
        _ = self.aggregate_class  # refuses at definition what can't work

    @cached_property
    def aggregate_class(self) -> type[Decided[C, S]]:
        """The decider as a class of aggregates."""
        evolve = self.evolve
        namespace = {
            # The module and the name of `evolve` tell snapshots apart, and annotations are resolved in its module.
            "__module__": getattr(evolve, "__module__", __name__),
            "__qualname__": getattr(evolve, "__qualname__", type(evolve).__qualname__),
            "__annotations__": {"state": _type_of_state(self)},
            "state": field(default_factory=self.initial_state),
        }
        settings = {"category": self.category, "state_version": self.state_version}
        made = types.new_class("Decided", (Decided,), settings, lambda body: body.update(namespace))
        aggregate_class = cast("type[Decided[C, S]]", made)
        aggregate_class.decider = self
        return aggregate_class


class Decided(AggregateRoot, Generic[C, S]):
    """The state of a decider in the form of an aggregate. Made by `Decider.aggregate_class`."""

    decider: ClassVar[Decider[Any, Any, Any]]
    state: S = cast("Any", None)

    def decide(self, command: C) -> None:
        """Raise the events that the command leads to."""
        decided = self.decider.decide(command, self.state)
        if decided is None:
            name = type(command).__qualname__
            raise InvalidArgumentError("decide", f"returned None for a {name}: return [] if nothing happens")
        for event in cast("Sequence[object]", decided) if isinstance(decided, list | tuple) else (decided,):
            self.raise_event(event)

    def apply_event(self, event: object) -> None:
        """Change the state by an event, without recording it."""
        state = self.decider.evolve(self.state, event)
        if self.decider.strict:
            self._check_is_handled(state, event)
        self.state = state
        self.stream_version += 1

    def apply_stored_event(self, stored: StoredEvent) -> None:
        """Change the state by an event that was read. Raises as `AggregateRoot.apply_stored_event` does."""
        self.apply_event(stored.event)

    def _check_is_handled(self, state: object, event: object) -> None:
        if state is None:
            fix = "evolve() returned None: add a case for it; to ignore it, return the state"
            raise UnhandledEventError(type(self), type(event), self.stream_id, self.stream_version + 1, fix)


def _type_of_state(decider: Decider[Any, Any, Any]) -> Any:
    """Return the annotated return type of `evolve`; else the class that makes the first state."""
    returned = getattr(decider.evolve, "__annotations__", {}).get("return")
    if returned is not None:
        return returned
    return decider.initial_state if isinstance(decider.initial_state, type) else object

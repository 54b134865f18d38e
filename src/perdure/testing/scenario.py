"""Given, when, then: aggregates and deciders tested by their events."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, check_instance
from perdure.decider import Decided, Decider
from perdure.errors import InvalidArgumentError
from perdure.testing.outcome import DeciderOutcome, Outcome, as_stored

A = TypeVar("A", bound=AggregateRoot)
C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")


@overload
def given(subject: A, *events: object) -> Scenario[A]: ...
@overload
def given(subject: Decider[C, E, S], *events: E) -> DeciderScenario[C, S]: ...
def given(subject: AggregateRoot | Decider[Any, Any, Any], *events: object) -> Any:
    """An aggregate or a decider that has a history. The events are written and read back first, as a store would.

    Raises:
        InvalidArgumentError: `subject` is neither of them.
        UnregisteredEventError: the class of an event bears no ``@event``.
        EventEncodingError: an event can't be stored.

    Example:
        def test_a_premium_user_can_be_deactivated() -> None:
            (
                given(User("123"), UserRegistered(...), UserSubscribed(user_id="123", plan="premium"))
                .when(lambda user: user.deactivate("moved"))
                .then(UserDeactivated(user_id="123", reason="moved"))
                .then_state(is_active=False)
            )


        def test_a_cart_that_was_paid_takes_no_more() -> None:
            given(cart, CartPaid()).when(AddItem(sku="heat-dvd")).then_raises(DomainError, match="was paid")
    """
    if isinstance(subject, Decider):
        return DeciderScenario(_after(events, subject.aggregate_class("given")))
    check_instance("subject", subject, AggregateRoot, Decider)
    return Scenario(_after(events, subject))


class Scenario(Generic[A]):
    """An aggregate with its history, made by `given`: say what happens with `when`."""

    def __init__(self, aggregate: A) -> None:
        self.aggregate = aggregate

    def when(self, action: Callable[[A], object]) -> Outcome[A]:
        """Call `action` with the aggregate: it calls a command, or several. What it raises is kept for `then_raises`.

        Raises:
            InvalidArgumentError: `action` is no function, or asynchronous.
            EventEncodingError: it raised an event that can't be stored.
        """
        check_function("action", action)
        before = len(self.aggregate.uncommitted_events)
        try:
            answer = action(self.aggregate)
        except Exception as error:  # noqa: BLE001 - what it is, is for the test to say
            return Outcome(self.aggregate, [], error)
        if inspect.iscoroutine(answer):
            answer.close()
            raise InvalidArgumentError("action", "is asynchronous: commands decide in one go")
        raised = [as_stored(new.event) for new in self.aggregate.uncommitted_events[before:]]
        return Outcome(self.aggregate, raised, None)


class DeciderScenario(Generic[C, S]):
    """A decider with its history, made by `given`: say which command comes with `when`."""

    def __init__(self, decided: Decided[C, S]) -> None:
        self._decided = decided

    def when(self, command: C) -> DeciderOutcome[S]:
        """Decide the command. What it raises is kept for `then_raises`.

        Raises:
            EventEncodingError: it leads to an event that can't be stored.
        """
        outcome = Scenario(self._decided).when(lambda decided: decided.decide(command))
        return DeciderOutcome(self._decided.state, outcome.events, outcome.error)


def _after(events: Iterable[object], aggregate: A) -> A:
    for event in events:
        aggregate.apply_event(as_stored(event))
    return aggregate

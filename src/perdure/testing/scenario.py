"""Given, when, then: tests of aggregates and deciders by their events."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, check_instance
from perdure.decider import Decided, Decider
from perdure.errors import EventEncodingError, InvalidArgumentError
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
    """Start a test of an aggregate or a decider with past events. They are encoded and decoded, as a store would do.

    Raises:
        InvalidArgumentError: `subject` is neither an aggregate nor a decider.
        UnregisteredEventError: the class of an event isn't decorated with ``@event``.
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
    """An aggregate with past events, from `given`. Call `when` with the action to test."""

    def __init__(self, aggregate: A) -> None:
        self.aggregate = aggregate

    def when(self, action: Callable[[A], object]) -> Outcome[A]:
        """Call `action` with the aggregate, to call one or more commands. Its error is checked with `then_raises`.

        Raises:
            InvalidArgumentError: `action` isn't a function, or is asynchronous.
            EventEncodingError: the action raised an event that can't be stored.
        """
        check_function("action", action)
        before = len(self.aggregate.uncommitted_events)
        try:
            answer = action(self.aggregate)
        except EventEncodingError:
            raise
        except Exception as error:  # noqa: BLE001 - the test checks the error
            return Outcome(self.aggregate, [], error)
        if inspect.iscoroutine(answer):
            answer.close()
            raise InvalidArgumentError("action", "is asynchronous: commands must be synchronous")
        raised = [new.event for new in self.aggregate.uncommitted_events[before:]]
        return Outcome(self.aggregate, raised, None)


class DeciderScenario(Generic[C, S]):
    """A decider with past events, from `given`. Call `when` with the command to test."""

    def __init__(self, decided: Decided[C, S]) -> None:
        self._decided = decided

    def when(self, command: C) -> DeciderOutcome[S]:
        """Decide a command. Its error is checked with `then_raises`.

        Raises:
            EventEncodingError: the command results in an event that can't be stored.
        """
        outcome = Scenario(self._decided).when(lambda decided: decided.decide(command))
        return DeciderOutcome(self._decided.state, outcome.events, outcome.error)


def _after(events: Iterable[object], aggregate: A) -> A:
    for event in events:
        aggregate.apply_event(as_stored(event))
    return aggregate

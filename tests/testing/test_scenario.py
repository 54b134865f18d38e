"""Given, when, then: what passes, and what a failure shows."""

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from perdure import (
    AggregateRoot,
    DomainError,
    EventEncodingError,
    InvalidArgumentError,
    UnregisteredEventError,
    command,
    event,
    handles,
)
from perdure.testing import given


@event("lamp.installed")
class Installed:
    place: str
    watts: float = 10


@event("lamp.switched")
@dataclass(eq=False)
class Switched:
    is_on: bool


@event("lamp.broken")
class Broken: ...


class TooDarkError(DomainError): ...


class Lamp(AggregateRoot, category="lamp"):
    place: str | None = None
    is_on: bool = False

    @command
    def install(self, place: str, watts: float = 10) -> None:
        if self.place is not None:
            raise TooDarkError(f"there is a lamp in the {self.place} already")
        self.raise_event(Installed(place=place, watts=watts))

    @command
    def switch(self) -> None:
        self.raise_event(Switched(is_on=not self.is_on))

    @handles
    def _installed(self, event: Installed) -> None:
        self.place = event.place

    @handles
    def _switched(self, event: Switched) -> None:
        self.is_on = event.is_on


def failure(message: str) -> Any:
    return pytest.raises(AssertionError, match=re.escape(message))


def test_events_lead_to_events() -> None:
    given(Lamp("1")).when(lambda lamp: lamp.install("hall")).then(Installed(place="hall"))


def test_history_makes_the_state_that_commands_decide_on() -> None:
    (
        given(Lamp("1"), Installed(place="hall"), Switched(is_on=True))
        .when(lambda lamp: lamp.switch())
        .then(Switched(is_on=False))
        .then_state(is_on=False, place="hall")
    )


def test_events_that_are_given_are_not_among_those_raised() -> None:
    outcome = given(Lamp("1"), Installed(place="hall")).when(lambda lamp: lamp.switch())

    assert len(outcome.events) == 1
    assert (outcome.aggregate.stream_version, outcome.aggregate.committed_version) == (2, 1)
    assert outcome.error is None


def test_one_step_may_follow_another() -> None:
    scenario = given(Lamp("1"))

    scenario.when(lambda lamp: lamp.install("hall")).then(Installed(place="hall"))
    scenario.when(lambda lamp: lamp.switch()).then(Switched(is_on=True))


def test_nothing_may_happen() -> None:
    given(Lamp("1")).when(lambda lamp: None).then_nothing().then_state(is_on=False)


def test_an_error_may_come_out() -> None:
    (
        given(Lamp("1"), Installed(place="hall"))
        .when(lambda lamp: lamp.install("attic"))
        .then_raises(DomainError)
        .then_raises(TooDarkError, match="in the hall already")
    )


def test_events_are_compared_as_they_would_be_stored() -> None:
    given(Lamp("1")).when(lambda lamp: lamp.install("hall", watts=7)).then(Installed(place="hall", watts=7.0))


def test_another_event_shows_a_difference_by_field() -> None:
    outcome = given(Lamp("1")).when(lambda lamp: lamp.install("hall"))

    with pytest.raises(AssertionError) as caught:
        outcome.then(Installed(place="attic"), Broken())

    assert str(caught.value).splitlines() == [
        "other events were raised:",
        "- expected",
        "+ found",
        "  Installed(",
        "-     place='attic',",
        "+     place='hall',",
        "      watts=10.0,",
        "  )",
        "- Broken(",
        "- )",
    ]


def test_events_where_none_was_expected_fail() -> None:
    with failure("+ Switched(\n+     is_on=True,\n+ )"):
        given(Lamp("1")).when(lambda lamp: lamp.switch()).then_nothing()


def test_another_state_shows_a_difference_by_field() -> None:
    outcome = given(Lamp("1"), Installed(place="hall")).when(lambda lamp: lamp.switch())

    with failure("the state differs:\n- expected\n+ found\n- is_on=False\n+ is_on=True\n  place='hall'"):
        outcome.then_state(is_on=False, place="hall")


def test_an_unknown_field_fails_naming_those_there_are() -> None:
    with failure("Lamp has no field 'on'; it has: is_on, place"):
        given(Lamp("1")).when(lambda lamp: lamp.switch()).then_state(on=True)


def test_an_error_that_wasnt_expected_is_shown_and_chained() -> None:
    outcome = given(Lamp("1"), Installed(place="hall")).when(lambda lamp: lamp.install("attic"))

    for check in (outcome.then, outcome.then_nothing, outcome.then_state):
        with failure("it raised TooDarkError('there is a lamp in the hall already')") as caught:
            check()
        assert isinstance(caught.value.__cause__, TooDarkError)


def test_no_error_where_one_was_expected_fails_showing_the_events() -> None:
    with failure("DomainError was expected, but it raised:\nSwitched(\n    is_on=True,\n)"):
        given(Lamp("1")).when(lambda lamp: lamp.switch()).then_raises(DomainError)
    with failure("DomainError was expected, but it raised:\nnothing"):
        given(Lamp("1")).when(lambda lamp: None).then_raises(DomainError)


def test_another_error_than_expected_fails() -> None:
    outcome = given(Lamp("1"), Installed(place="hall")).when(lambda lamp: lamp.install("attic"))

    with failure("KeyError was expected, but it raised TooDarkError("):
        outcome.then_raises(KeyError)
    with failure("'kitchen' isn't found in 'there is a lamp in the hall already'"):
        outcome.then_raises(TooDarkError, match="kitchen")


def test_events_that_cant_be_stored_are_refused_wherever_they_stand() -> None:
    unstorable = Installed(place="\x00")

    with pytest.raises(EventEncodingError):
        given(Lamp("1"), unstorable)
    with pytest.raises(EventEncodingError):
        given(Lamp("1")).when(lambda lamp: lamp.raise_event(unstorable))
    with pytest.raises(UnregisteredEventError):
        given(Lamp("1"), "no event")


def test_an_asynchronous_action_is_refused() -> None:
    async def action(lamp: Lamp) -> None:
        lamp.switch()

    with pytest.raises(InvalidArgumentError, match="action is asynchronous"):
        given(Lamp("1")).when(action)


def test_it_needs_no_test_framework() -> None:
    script = "import sys, perdure.testing; sys.exit('pytest' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

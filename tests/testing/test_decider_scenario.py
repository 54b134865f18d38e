"""Given, when, then, for deciders."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from perdure import Decider, DomainError, EventEncodingError, event
from perdure.testing import given


@event("gate.opened")
class Opened:
    width: float = 1


@event("gate.painted")
class Painted:
    color: str


@dataclass(frozen=True)
class Open: ...


@dataclass(frozen=True)
class Paint:
    colors: list[str]


@dataclass(frozen=True)
class Gate:
    is_open: bool = False
    color: str = "white"


def decide(command: Open | Paint, gate: Gate) -> Opened | list[Opened | Painted]:
    match command:
        case Open():
            if gate.is_open:
                raise DomainError("it is open already")
            return Opened()
        case Paint(colors=colors):
            return [Painted(color=color) for color in colors]


def evolve(gate: Gate, event: Opened | Painted) -> Gate:
    match event:
        case Opened():
            return replace(gate, is_open=True)
        case Painted(color=color):
            return replace(gate, color=color)


gate = Decider[Open | Paint, Opened | Painted, Gate](category="gate", initial_state=Gate, decide=decide, evolve=evolve)


def test_a_command_leads_to_events_and_a_state() -> None:
    given(gate).when(Open()).then(Opened()).then_state(Gate(is_open=True))


def test_several_events_and_none() -> None:
    given(gate).when(Paint(["red", "blue"])).then(Painted(color="red"), Painted(color="blue"))
    given(gate).when(Paint([])).then_nothing().then_state(Gate())


def test_history_makes_the_state_that_is_decided_on() -> None:
    given(gate, Opened(), Painted(color="red")).when(Open()).then_raises(DomainError, match="open already")


def test_a_scenario_begins_anew_each_time() -> None:
    for _ in range(2):
        given(gate).when(Open()).then(Opened())


def test_another_state_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"(?s)the state differs.*- Gate.*False.*\+ Gate.*True"):
        given(gate).when(Open()).then_state(Gate())


def test_other_events_are_shown() -> None:
    with pytest.raises(AssertionError, match="other events were raised"):
        given(gate).when(Open()).then(Painted(color="red"))


def test_an_event_that_cant_be_stored_is_refused() -> None:
    bad: Any = [5]
    with pytest.raises(EventEncodingError):
        given(gate).when(Paint(bad))

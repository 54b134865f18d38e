"""A small application in which every public call can be made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import perdure
import perdure.schema
import perdure.testing
from perdure import (
    AggregateRoot,
    ChildRows,
    Decider,
    DeciderRepository,
    EventStore,
    ProjectionService,
    Repository,
    RetryConfig,
    Subscription,
    TableProjection,
    Transaction,
    child_table,
    command,
    event,
    handles,
)
from perdure.async_block import AsyncBlock
from perdure.testing import FixedClock, given


@event("test.bad_input.noted")
class Noted:
    text: str = ""


class Note(AggregateRoot, category="note"):
    text: str = ""

    @command
    def write(self, text: str) -> None:
        self.raise_event(Noted(text=text))

    @handles
    def _noted(self, event: Noted) -> None:
        self.text = event.text


class Letter(AggregateRoot, category="letter"):
    """Another class than the repository keeps."""


def decide(command: str, state: str) -> Noted:
    return Noted(text=command)


def evolve(state: str, event: Noted) -> str:
    return event.text


MEMO = Decider[str, Noted, str](category="memo", initial_state=str, decide=decide, evolve=evolve)


@event("test.bad_input.visited")
class Visited:
    page: str


@dataclass
class Visits:
    page: str
    count: int = 0


@dataclass
class Visitor:
    page: str
    name: str


class Pages(TableProjection[Visits], table="bad_input_pages", key="page"):
    visitors = child_table(Visitor, table="bad_input_visitors", key=("page", "name"), keys=lambda event: ["ann"])

    @handles
    def visited(self, event: Visited, row: Visits | None, visitors: ChildRows[Visitor]) -> Visits:
        return row or Visits(event.page)


PROJECTION = Pages()


def written() -> Note:
    """A new note with an event to be saved."""
    note = Note(uuid4())
    note.write("new")
    return note


class World:
    """What the calls are made of: an instance of each class that has public methods.

    Args:
        store: holds one event, of `note-1`.
    """

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self._instances: dict[str, Callable[[], object]] = {
            "AggregateRoot": written,
            "DeciderOutcome": lambda: given(MEMO).when("a"),
            "DeciderRepository": lambda: DeciderRepository(MEMO, store),
            "DeciderScenario": lambda: given(MEMO),
            "EventStore": lambda: store,
            "StreamReads": lambda: store,  # the part of it that reads streams
            "LogReader": lambda: store,  # the part of it that reads the whole log
            "FixedClock": FixedClock,
            "Outcome": lambda: given(Note("1")).when(lambda note: note.write("a")),
            "Raised": lambda: given(Note("1")).when(lambda note: note.write("a")),
            "Repository": lambda: Repository(Note, store, snapshot_every=1),
            "RetryConfig": RetryConfig,
            "Scenario": lambda: given(Note("1")),
            "Subscription": store.subscribe,
            "Transaction": Transaction,
        }

    def function(self, name: str) -> Callable[..., Any]:
        """The public call of that name: a function, a class, or a method of an instance."""
        owner, _, method = name.partition(".")
        if owner == "schema":
            return cast("Callable[..., Any]", getattr(perdure.schema, method))
        if method:
            return cast("Callable[..., Any]", getattr(self._instances[owner](), method))
        module = perdure if owner in perdure.__all__ else perdure.testing
        return cast("Callable[..., Any]", getattr(module, owner))


async def performed(answer: Any) -> Any:
    """What came of a call, once all is done that it promises: awaited, iterated over, entered and left."""
    if inspect.isawaitable(answer) and not isinstance(answer, AsyncBlock):  # that refuses to be awaited
        return await answer
    if isinstance(answer, Subscription):
        return await anext(answer)
    if hasattr(answer, "__aiter__"):
        return [one async for one in answer]
    if hasattr(answer, "__aenter__") and not isinstance(answer, EventStore | ProjectionService):
        async with answer as entered:
            return entered
    if hasattr(answer, "__enter__"):
        with answer as entered:
            return entered
    return answer

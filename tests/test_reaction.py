"""What a `Reaction` declares, and the keys that its calls have."""

import re
import types
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from perdure.errors import InvalidArgumentError, ProjectionDefinitionError, ReactionDefinitionError
from perdure.events import StoredEvent, handles
from perdure.log import NOW
from perdure.projections.engines.factory import describe
from perdure.projections.engines.reaction.definition import ReactionDefinition
from perdure.reaction import REACTION_RETRY, Delivery, Reaction
from perdure.retry import RetryConfig
from tests.projections.counting import Moved, Visited


def test_a_reaction_has_the_settings_that_its_class_names() -> None:
    class Mails(Reaction, name="mails", key="page", start=7, concurrency=3, retry=RetryConfig(max_attempts=1)):
        @handles
        async def visited(self, event: Visited) -> None: ...

    definition = describe(Mails())
    assert isinstance(definition, ReactionDefinition)
    assert (definition.name, definition.kind, definition.start, definition.concurrency) == ("mails", "reaction", 7, 3)
    assert definition.retry == RetryConfig(max_attempts=1)


def test_by_default_it_begins_now_and_tries_twelve_times() -> None:
    class Mails(Reaction, name="mails"): ...

    assert (Mails.start, Mails.retry, Mails.key, Mails.concurrency) == (NOW, REACTION_RETRY, None, 8)


def test_a_class_without_a_name_is_a_base_of_others() -> None:
    class Base(Reaction):
        @handles
        async def visited(self, event: Visited) -> None: ...

    class Mails(Base, name="mails"): ...

    assert describe(Mails()).name == "mails"
    with pytest.raises(ReactionDefinitionError, match="it has no name"):
        describe(Base())


def _handlers() -> dict[str, Any]:
    async def not_a_handler(self: object, event: Visited) -> None: ...

    @handles
    def synchronous(self: object, event: Visited) -> None: ...

    @handles
    async def surplus(self: object, event: Visited, row: int) -> None: ...

    @handles
    async def transaction(self: object, event: Visited, tx: object) -> None: ...

    @handles
    async def star(self: object, event: Visited, *call: Delivery) -> None: ...

    @handles(Visited)
    async def nothing(self: object) -> None: ...

    @handles(Visited)
    async def only_the_call(self: object, call: Delivery) -> None: ...

    return locals()


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("not_a_handler", "it handles no event: mark a method with @handles"),
        ("synchronous", "synchronous() must be 'async def'"),
        ("surplus", "can't be called: a handler takes (self, event), and optionally, by name, call, at"),
        ("transaction", "can't be called"),
        ("star", "can't be called"),
        ("nothing", "can't be called"),
        ("only_the_call", "can't be called"),
    ],
)
def test_a_handler_that_cant_be_called_is_refused(handler: str, message: str) -> None:
    body = {handler: _handlers()[handler]}
    cls: Any = types.new_class("Mails", (Reaction,), {"name": "mails"}, lambda namespace: namespace.update(body))
    with pytest.raises(ReactionDefinitionError, match=re.escape(message)) as caught:
        describe(cls())
    assert isinstance(caught.value, ProjectionDefinitionError)
    assert str(caught.value).startswith("reaction 'mails' can't run: ")


def test_a_key_that_an_event_lacks_is_refused() -> None:
    class Mails(Reaction, name="mails", key="page"):
        @handles
        async def visited(self, event: Visited | Moved) -> None: ...

    with pytest.raises(ReactionDefinitionError, match="Moved has no 'page', which is the key"):
        describe(Mails())


def test_a_key_function_can_be_any_callable_of_the_stored_event() -> None:
    class Mails(Reaction, name="mails", key=lambda stored: stored.stream_version):
        @handles
        async def visited(self, event: Visited) -> None: ...

    definition = ReactionDefinition(Mails())
    stored = StoredEvent("x-1", 5, 9, UUID(int=1), "test.projections.visited", 1, "{}", "{}", datetime.now(UTC))
    assert definition.key_of(stored) == ("5",)


def test_keys_of_a_delivery_are_stable_and_distinct() -> None:
    call = Delivery("mails", UUID(int=1), 1, may_be_repeat=False)
    assert call.idempotency_key == "mails:00000000-0000-0000-0000-000000000001"
    assert call.key("welcome", 7) == call.key("welcome", "7") == "mails:welcome:7"
    assert call.key("a:b") != call.key("a", "b")
    with pytest.raises(InvalidArgumentError, match="parts"):
        call.key()

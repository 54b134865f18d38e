"""The calls with which an application is written: events, aggregates, deciders, metadata, settings."""

import types
from collections.abc import Callable
from typing import Any, Final

import perdure
from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    UnregisteredEventError,
    UpcasterDefinitionError,
)
from perdure.testing import stored_event
from tests.bad_input.repository_calls import aggregate_id
from tests.bad_input.table import NO_ARGUMENTS, USERS_OWN, Call, Table, refused
from tests.bad_input.values import (
    A_TIME,
    HUGE_TEXT,
    NOT_A_CATEGORY,
    NOT_A_CLASS,
    NOT_A_COUNT,
    NOT_A_FLAG,
    NOT_A_FUNCTION,
    NOT_A_LIST,
    NOT_A_MAPPING,
    NOT_A_TIME,
    NOT_A_UUID,
    NOT_AN_EVENT,
    NOT_AN_EVENT_TYPE,
    NOT_AN_EVENT_VERSION,
    NOT_SECONDS,
    NOT_TEXT,
    UNSTORABLE_TEXT,
    Nameless,
    but,
)
from tests.bad_input.world import MEMO, Note, Noted, World

HEADERS: Final = [
    refused(but(NOT_A_MAPPING, None)),
    refused([{"a": bad} for bad in [*NOT_TEXT, *UNSTORABLE_TEXT]]),
    refused([{bad: "a"} for bad in [5, None, b"a", *UNSTORABLE_TEXT]]),
]
TEXT_OR_UUID: Final = [refused([*but(NOT_TEXT, None), "", *UNSTORABLE_TEXT])]
STATE_VERSION: Final = [*NOT_A_COUNT, 0, 2**31]
FUNCTION: Final = [refused(NOT_A_FUNCTION)]
SECONDS: Final = [refused(NOT_SECONDS)]
EVENT: Final = [refused(NOT_AN_EVENT, UnregisteredEventError, "@event")]


async def _later(*_: Any) -> Any: ...


def _generate(*_: Any) -> Any:
    yield


def define(**settings: Any) -> type:
    """Define a class of aggregates with these settings."""
    return types.new_class("Defined", (AggregateRoot,), settings)


def defined_event(**settings: Any) -> type:
    """Define an event with these settings."""
    cls = settings.pop("cls", None)
    decorated: type = perdure.event(**settings)(type("Defined", (), {}) if cls is None else cls[0])
    return decorated


def _decorated(decorator: Callable[..., Any]) -> Callable[[World], Callable[..., Any]]:
    return lambda _: lambda one: decorator(*one)(lambda self, event: None)


DEFINITIONS: Final[Table] = {
    "event": Call(
        lambda _: {"name": "test.bad_input.defined", "version": 1, "aliases": ("test.bad_input.alias",)},
        {
            "name": [refused(NOT_AN_EVENT_TYPE)],
            "version": [refused(NOT_AN_EVENT_VERSION)],
            "aliases": [
                refused([*but(NOT_A_LIST, ()), "alias", ("a", "a"), ("test.bad_input.defined",)]),
                refused([(bad,) for bad in NOT_AN_EVENT_TYPE]),
            ],
        },
    ),
    "event()": Call(
        lambda _: {"cls": type("Defined", (), {})},
        {"cls": [refused(NOT_A_CLASS, named="event")]},
        lambda _: perdure.event("test.bad_input.defined"),
    ),
    "field": Call(
        lambda _: {"default_factory": list},
        {"default": USERS_OWN, "default_factory": [refused(NOT_A_FUNCTION)]},
    ),
    "handles": Call(
        lambda _: {"args": (Noted,)},
        {
            "args": [
                refused(
                    [(bad,) for bad in [*NOT_A_CLASS, Noted | Note, property(), staticmethod(print)]],
                    named="event_classes",
                )
            ],
            "keys": [refused([*but(NOT_A_FUNCTION, None), lambda: ["ann"]])],
        },
        lambda _: lambda args, **options: perdure.handles(*args, **options),
    ),
    "upcast": Call(
        lambda _: {"event_type": "test.bad_input.noted", "from_version": 1},
        {"event_type": [refused(NOT_AN_EVENT_TYPE)], "from_version": [refused(NOT_AN_EVENT_VERSION)]},
    ),
    "upcast()": Call(
        lambda _: {"function": dict},
        {
            "function": [
                refused(
                    [*NOT_A_FUNCTION, _later, _generate, Noted, lambda: None],
                    UpcasterDefinitionError,
                    "test.bad_input.noted",
                )
            ]
        },
        lambda _: (
            lambda function: (
                None if function is dict else perdure.upcast("test.bad_input.noted", from_version=1)(function)
            )
        ),
    ),
    "command": Call(
        lambda _: {"method": Note.write}, {"method": [refused([*NOT_A_FUNCTION, Note, staticmethod(print)])]}
    ),
    "check_evolution": NO_ARGUMENTS,
    "current_context": NO_ARGUMENTS,
    "context": Call(
        lambda _: {"correlation_id": "a", "causation_id": "a", "user_id": HUGE_TEXT, "headers": {"a": ""}},
        {"correlation_id": TEXT_OR_UUID, "causation_id": TEXT_OR_UUID, "user_id": TEXT_OR_UUID, "headers": HEADERS},
    ),
    "NewEvent": Call(
        lambda _: {"event": Noted(), "timestamp": A_TIME, "headers": {}},
        {
            "event": EVENT,
            "event_id": [refused(but(NOT_A_UUID, None))],
            "timestamp": [refused(but(NOT_A_TIME, None))],
            "headers": HEADERS,
        },
    ),
    "AggregateRoot.__init_subclass__": Call(
        lambda _: {"category": "defined", "state_version": 2, "strict": True},
        {
            "category": [refused(but(NOT_A_CATEGORY, None), AggregateDefinitionError)],
            "state_version": [refused(but(STATE_VERSION, None), AggregateDefinitionError)],
            "strict": [refused(but(NOT_A_FLAG, None), AggregateDefinitionError)],
        },
        lambda _: define,
    ),
    "AggregateRoot": Call(lambda _: {"aggregate_id": "1"}, {"aggregate_id": aggregate_id("note")}, lambda _: Note),
    "AggregateRoot.raise_event": Call(
        lambda _: {"event": Noted(), "timestamp": A_TIME},
        {"event": EVENT, "timestamp": [refused(but(NOT_A_TIME, None))]},
    ),
    "AggregateRoot.apply_event": Call(lambda _: {"event": Noted()}, {"event": EVENT}),
    "AggregateRoot.apply_stored_event": Call(
        lambda _: {"stored": stored_event("test.bad_input.noted", {})},
        {"stored": [refused([None, 5, "noted", Noted(), perdure.NewEvent(Noted()), Nameless()])]},
    ),
    "AggregateRoot.mark_events_as_committed": Call(
        lambda _: {"through": 1}, {"through": [refused(but(NOT_A_COUNT, None))]}
    ),
    "AggregateRoot.state_types": NO_ARGUMENTS,
    "Decider": Call(
        lambda _: {
            name: getattr(MEMO, name)
            for name in ("category", "initial_state", "decide", "evolve", "state_version", "strict")
        },
        {
            "category": [refused(NOT_A_CATEGORY)],
            "initial_state": [refused([*NOT_A_FUNCTION, _later, lambda state: state])],
            "decide": [refused([*NOT_A_FUNCTION, _later, lambda command: command, lambda one, two, three: one])],
            "evolve": [refused([*NOT_A_FUNCTION, _later, lambda state: state, lambda one, two, three: one])],
            "state_version": [refused(STATE_VERSION)],
            "strict": [refused(NOT_A_FLAG)],
        },
    ),
    "RetryConfig": Call(
        lambda _: {"max_attempts": 3, "base_delay": 0.1, "max_delay": 1},
        {
            "max_attempts": [refused([*but(NOT_A_COUNT, None), 0])],
            "base_delay": SECONDS,
            "max_delay": SECONDS,
            "max_seconds": SECONDS,
        },
    ),
    "RetryConfig.delay": Call(lambda _: {"attempt": 1}, {"attempt": [refused([*NOT_A_COUNT, 0])]}),
}

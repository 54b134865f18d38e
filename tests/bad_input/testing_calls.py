"""The calls of `perdure.testing`. They fail loudly too: a test that was written wrongly must not pass."""

from datetime import timedelta
from typing import Final

from perdure import InvalidStreamIdError, ProjectionDefinitionError, UnregisteredEventError
from perdure.testing import given, stored_event
from tests.bad_input.definition_calls import FUNCTION
from tests.bad_input.repository_calls import NOT_A_STORE
from tests.bad_input.table import NO_ARGUMENTS, USERS_OWN, Call, Table, refused
from tests.bad_input.values import (
    A_TIME,
    HUGE_NUMBER,
    NOT_A_COUNT,
    NOT_A_FUNCTION,
    NOT_A_MAPPING,
    NOT_A_STREAM_ID,
    NOT_A_TIME,
    NOT_AN_EVENT,
    NOT_AN_EVENT_TYPE,
    NOT_AN_EVENT_VERSION,
    NOT_TEXT,
    UNSTORABLE_TEXT,
    Nameless,
    but,
)
from tests.bad_input.world import PROJECTION, Note, Noted, Visited, Visits

EVENTS: Final = [refused([[bad] for bad in NOT_AN_EVENT], UnregisteredEventError, "@event")]
FOLDED: Final = {
    "projection": [refused([None, 5, "visits", Visits], ProjectionDefinitionError)],
    "events": [refused([None, 5, True, HUGE_NUMBER, Nameless()]), *EVENTS],
    "stream_id": [refused(but(NOT_A_STREAM_ID, None), InvalidStreamIdError)],
}

TESTING: Final[Table] = {
    "fold": Call(lambda _: {"projection": PROJECTION, "events": [Visited(page="a")]}, FOLDED),
    "fold_tables": Call(lambda _: {"projection": PROJECTION, "events": [Visited(page="a")]}, FOLDED),
    "FixedClock": Call(lambda _: {"start": A_TIME}, {"start": [refused(NOT_A_TIME)]}),
    "FixedClock.now": NO_ARGUMENTS,
    "FixedClock.set": Call(lambda _: {"now": A_TIME}, {"now": [refused(NOT_A_TIME)]}),
    "FixedClock.advance": Call(
        lambda _: {"by": A_TIME - A_TIME}, {"by": [refused([None, 5, True, "1", A_TIME, Nameless()])]}
    ),
    "controlled": Call(
        lambda _: {"clock": A_TIME},
        {"clock": [refused(but(NOT_A_TIME, None))], "new_id": [refused(but(NOT_A_FUNCTION, None))]},
    ),
    "sequential_ids": Call(lambda _: {"first": 1}, {"first": [refused(NOT_A_COUNT)]}),
    "advance_timers": Call(
        lambda world: {"store": world.store, "by": A_TIME - A_TIME},
        {
            "store": [refused(NOT_A_STORE)],
            "by": [refused([None, 5, True, "1", A_TIME, timedelta(microseconds=-1), Nameless()])],
            "process": [refused([*but(NOT_TEXT, None), *UNSTORABLE_TEXT])],
        },
    ),
    "given": Call(
        lambda _: {"subject": Note("1"), "events": [Noted()]},
        {"subject": [refused([None, 5, "note-1", Note, Noted(), Nameless()])], "events": EVENTS},
        lambda _: lambda subject, events: given(subject, *events),
    ),
    "Scenario.when": Call(lambda _: {"action": lambda note: note.write("a")}, {"action": FUNCTION}),
    "DeciderScenario.when": Call(lambda _: {"command": "a"}, {"command": USERS_OWN}),
    "stored_event": Call(
        lambda _: {"event_type": "a", "data": {}, "timestamp": A_TIME},
        {
            "event_type": [refused(NOT_AN_EVENT_TYPE)],
            "data": [refused([*NOT_A_MAPPING, {"a": object()}, {"a": Nameless()}])],
            "version": [refused(NOT_AN_EVENT_VERSION)],
            "timestamp": [refused(but(NOT_A_TIME, None))],
            "stream_id": [refused(NOT_A_STREAM_ID, InvalidStreamIdError)],
            "stream_version": [refused([*NOT_A_COUNT, 0])],
        },
    ),
    "append_stored": Call(
        lambda world: {"store": world.store, "stored": stored_event("a", {})},
        {"store": [refused(NOT_A_STORE)], "stored": [refused([None, 5, "a", {}, Noted(), Nameless()])]},
    ),
    "Raised.then": Call(
        lambda _: {"events": [Noted(text="a")]},
        {"events": EVENTS},
        lambda world: lambda events: world.function("Raised.then")(*events),
    ),
    "Raised.then_nothing": Call(lambda _: {}, {}, lambda _: given(Note("1")).when(lambda note: None).then_nothing),
    "Raised.then_raises": Call(
        lambda _: {"error": ValueError, "match": "a"},
        {
            "error": [refused([None, 5, "ValueError", ValueError("a"), object, (ValueError,), Nameless()])],
            "match": [refused([5, True, b"a", "(", Nameless()])],
        },
        lambda _: given(Note("1")).when(_fail).then_raises,
    ),
    "Outcome.then_state": Call(lambda _: {"text": "a"}, {"expected": "a field that isn't there fails the test"}),
    "DeciderOutcome.then_state": Call(lambda _: {"expected": "a"}, {"expected": USERS_OWN}),
}


def _fail(_: Note) -> None:
    raise ValueError("a")

"""The calls by which operators look after processes."""

from __future__ import annotations

from typing import Final

from perdure import TimerOperations
from tests.bad_input.projection_calls import OPTIONAL_TEXT
from tests.bad_input.repository_calls import NOT_A_STORE
from tests.bad_input.table import Call, Table, none, refused
from tests.bad_input.values import NOT_A_COUNT, NOT_TEXT, UNSTORABLE_TEXT, Nameless

PROCESSES: Final[Table] = {
    "TimerOperations": Call(
        lambda world: {"store": world.store}, {"store": [refused(NOT_A_STORE)], "actor": OPTIONAL_TEXT}
    ),
    "TimerOperations.timers": Call(
        none,
        {
            "name": OPTIONAL_TEXT,
            "key": OPTIONAL_TEXT,
            "due": [refused([5, "yes", b"yes", [], Nameless()])],
            "limit": [refused(NOT_A_COUNT)],
        },
        lambda world: TimerOperations(world.store).timers,
    ),
    "TimerOperations.status": Call(none, {"name": OPTIONAL_TEXT}, lambda world: TimerOperations(world.store).status),
    "TimerOperations.cancel": Call(
        lambda _: {"name": "trials", "key": "{}", "timer": "end", "reason": "a test"},
        {
            "name": [refused([*NOT_TEXT, *UNSTORABLE_TEXT])],
            "key": [refused([*NOT_TEXT, *UNSTORABLE_TEXT])],
            "timer": [refused([*NOT_TEXT, *UNSTORABLE_TEXT])],
            "reason": [refused([*NOT_TEXT, "", " ", *UNSTORABLE_TEXT])],
        },
        lambda world: TimerOperations(world.store).cancel,
    ),
}

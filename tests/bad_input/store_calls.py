"""The calls of a store: appending, reading, following."""

from typing import Any, Final
from uuid import UUID

from perdure import (
    ANY,
    InvalidArgumentError,
    InvalidStreamIdError,
    NewEvent,
    TransactionError,
    UnregisteredEventError,
    UnsupportedOperationError,
)
from perdure.commit import CommitGroup
from perdure.log import LogFilter
from perdure.page_reader import StoredType
from perdure.snapshot import Snapshot
from tests.bad_input.table import CHECKED, NO_ARGUMENTS, Call, Table, refused
from tests.bad_input.values import (
    HUGE_NUMBER,
    NOT_A_CATEGORY,
    NOT_A_COMMAND_ID,
    NOT_A_COUNT,
    NOT_A_FUNCTION,
    NOT_A_LIST,
    NOT_A_MAPPING,
    NOT_A_STREAM_ID,
    NOT_A_TIME,
    NOT_A_UUID,
    NOT_A_VERSION_TO_EXPECT,
    NOT_AN_EVENT,
    NOT_SECONDS,
    NOT_TEXT,
    UNSTORABLE_TEXT,
    Nameless,
    but,
)
from tests.bad_input.world import Noted

AN_ID: Final = UUID(int=7)
TWICE: Final = NewEvent(Noted(), event_id=AN_ID)
SNAPSHOT: Final[dict[str, Any]] = {
    "stream_id": "note-1",
    "stream_version": 1,
    "event_id": AN_ID,
    "state_version": 1,
    "state_shape": "shape",
    "state": "{}",
}

STREAM_ID: Final = [refused(NOT_A_STREAM_ID, InvalidStreamIdError)]
COUNT: Final = [refused(NOT_A_COUNT)]
OPTIONAL_COUNT: Final = [refused(but(NOT_A_COUNT, None))]
EXPECTED_VERSION: Final = [refused(NOT_A_VERSION_TO_EXPECT)]
EVENTS: Final = [
    refused([*NOT_A_LIST, [], ()]),
    refused([[one] for one in NOT_AN_EVENT], UnregisteredEventError, "@event"),
    refused([[TWICE, TWICE]]),
]
TX: Final = [
    refused([5, True, "tx", b"tx", {}, Nameless()], (TransactionError, UnsupportedOperationError), "transaction")
]
CONDITIONS: Final = [
    refused(but(NOT_A_MAPPING, None)),
    refused([{bad: 1} for bad in ("", "note", 5, None)], InvalidStreamIdError, "stream_id"),
    refused([{"note-2": bad} for bad in NOT_A_VERSION_TO_EXPECT], named="expected_version"),
]
CORRELATION_ID: Final = [refused([*NOT_TEXT, "", *UNSTORABLE_TEXT])]
WHERE: Final = {
    "stream_id": [refused(but(NOT_A_STREAM_ID, None), InvalidStreamIdError)],
    "category": [refused([*but(NOT_A_CATEGORY, None), []]), refused([[bad] for bad in NOT_A_CATEGORY])],
    "event_types": [
        refused(
            [*but(NOT_A_LIST, None, *[{*()}]), [], [5], [None], [""], [["note"]], *([text] for text in UNSTORABLE_TEXT)]
        ),
        refused([[Nameless], [Noted, object]], UnregisteredEventError, "@event"),
    ],
    "correlation_id": [refused([*but(NOT_TEXT, None), "", *UNSTORABLE_TEXT])],
    "recorded_from": [refused(but(NOT_A_TIME, None))],
    "recorded_before": [refused(but(NOT_A_TIME, None))],
}


def _appends(stream_id: Any = "note-3", expected_version: Any = ANY, events: Any = None) -> list[Any]:
    return [(stream_id, expected_version, [Noted()] if events is None else events)]


UP_TO: Final = {
    "up_to": [
        refused([*but(NOT_A_COUNT, None, [1]), {}, object()]),
        refused([[], (), [1], ["note-1"], [HUGE_NUMBER], [Nameless()]]),
        refused([2**62]),
    ],
    "timeout": [refused(NOT_SECONDS)],
}


APPEND_ID: Final = [refused(but(NOT_A_COMMAND_ID, None))]

STORE: Final[Table] = {
    "EventStore.append_to_stream": Call(
        lambda _: {"stream_id": "note-2", "expected_version": ANY, "events": [Noted()]},
        {
            "stream_id": STREAM_ID,
            "expected_version": EXPECTED_VERSION,
            "events": EVENTS,
            "append_id": APPEND_ID,
            "tx": TX,
        },
    ),
    "EventStore.append_to_streams": Call(
        lambda _: {"appends": _appends(), "conditions": {"note-4": 0}},
        {
            "appends": [
                refused([*NOT_A_LIST, [], [5], [None], ["note-3"], [("note-3", 0)], [("note-3", 0, [Noted()], 1)]]),
                refused([[HUGE_NUMBER], [Nameless()], [Noted()]]),
                refused([_appends(bad) for bad in NOT_A_STREAM_ID], InvalidStreamIdError, "stream_id"),
                refused([_appends(expected_version=bad) for bad in NOT_A_VERSION_TO_EXPECT], named="expected_version"),
                refused([_appends(events=bad) for bad in but(NOT_A_LIST, None)], named="events"),
                refused([_appends(events=[bad]) for bad in NOT_AN_EVENT], UnregisteredEventError, "@event"),
                refused([_appends() * 2, _appends("note-4")]),
                refused([[*_appends(events=[TWICE]), *_appends("note-5", events=[TWICE])]], named="events"),
            ],
            "conditions": CONDITIONS,
            "append_id": APPEND_ID,
            "tx": TX,
        },
    ),
    "EventStore.encode": Call(
        lambda _: {"stream_id": "note-2", "expected_version": ANY, "events": [Noted()]},
        {"stream_id": STREAM_ID, "expected_version": EXPECTED_VERSION, "events": EVENTS, "append_id": APPEND_ID},
    ),
    "StreamReads.read_stream": Call(
        lambda _: {"stream_id": "note-1", "from_version": 0, "max_count": 1},
        {
            "stream_id": STREAM_ID,
            "from_version": COUNT,
            "max_count": OPTIONAL_COUNT,
            "event_types": WHERE["event_types"],
            "tx": TX,
        },
    ),
    "StreamReads.read_stream_backwards": Call(
        lambda _: {"stream_id": "note-1", "before_version": 1, "max_count": 1},
        {
            "stream_id": STREAM_ID,
            "before_version": OPTIONAL_COUNT,
            "max_count": OPTIONAL_COUNT,
            "event_types": WHERE["event_types"],
            "tx": TX,
        },
    ),
    "StreamReads.last_event": Call(
        lambda _: {"stream_id": "note-1"}, {"stream_id": STREAM_ID, "event_types": WHERE["event_types"], "tx": TX}
    ),
    "StreamReads.iterate_stream": Call(
        lambda _: {"stream_id": "note-1", "from_version": 0},
        {"stream_id": STREAM_ID, "from_version": COUNT, "event_types": WHERE["event_types"], "tx": TX},
    ),
    "StreamReads.stream_version": Call(lambda _: {"stream_id": "note-1"}, {"stream_id": STREAM_ID, "tx": TX}),
    "LogReader.read_all_events": Call(
        lambda _: {"from_position": 0, "max_count": 1},
        {"from_position": COUNT, "max_count": OPTIONAL_COUNT, **UP_TO, **WHERE},
    ),
    "LogReader.read_all_events_backwards": Call(
        lambda _: {"before_position": 1, "max_count": 1},
        {"before_position": OPTIONAL_COUNT, "max_count": OPTIONAL_COUNT, **UP_TO, **WHERE},
    ),
    "LogReader.iterate_all_events": Call(lambda _: {"from_position": 0}, {"from_position": COUNT, **UP_TO, **WHERE}),
    "LogReader.causation_tree": Call(lambda _: {"correlation_id": "a"}, {"correlation_id": CORRELATION_ID, **UP_TO}),
    "LogReader.subscribe": Call(
        lambda _: {"start": 0},
        {
            "start": [refused([*NOT_A_COUNT, "now"])],
            "from_event_id": [refused(but(NOT_A_UUID, None))],
            "stream_id": WHERE["stream_id"],
            "category": WHERE["category"],
            "event_types": WHERE["event_types"],
        },
    ),
    "Subscription.next_page": Call(
        lambda _: {"limit": 1}, {"limit": [refused([*NOT_A_COUNT, 0])], "patience": [refused(but(NOT_SECONDS, None))]}
    ),
    "Subscription.prefetch": Call(lambda _: {"limit": 1}, {"limit": [refused([*NOT_A_COUNT, 0])]}),
    "EventStore.transaction": Call(
        lambda _: {},
        {
            "connection": [
                refused(
                    [5, True, "c", b"c", {}, Nameless()],
                    (InvalidArgumentError, UnsupportedOperationError),
                    "connection",
                )
            ],
            "commit": [
                refused(
                    [None, 5, True, "", "Caller", b"caller", [], {}, Nameless()],
                    (InvalidArgumentError, UnsupportedOperationError),
                    "transaction",
                ),
                refused(["caller"], (InvalidArgumentError, UnsupportedOperationError), "connection"),
            ],
        },
    ),
    "EventStore.exclusively": Call(
        lambda _: {"stream_id": "note-1", "timeout": 1.0},
        {"stream_id": STREAM_ID, "timeout": [refused(NOT_SECONDS)]},
    ),
    "Transaction.lock_stream": Call(
        lambda _: {"stream_id": "note-1", "timeout": 1.0},
        {"stream_id": STREAM_ID, "timeout": [refused(NOT_SECONDS)]},
    ),
    "Transaction.after_commit": Call(lambda _: {"callback": print}, {"callback": [refused(NOT_A_FUNCTION)]}),
    "Transaction.when_settled": Call(
        lambda _: {"event_ids": [AN_ID], "callback": print},
        {
            "event_ids": [refused([*NOT_A_LIST, *[[bad] for bad in NOT_A_UUID]])],
            "callback": [refused(NOT_A_FUNCTION)],
        },
    ),
    "StreamReads.read_event": Call(lambda _: {"event_id": AN_ID}, {"event_id": [refused(NOT_A_UUID)], "tx": TX}),
    "EventStore.stored_types": NO_ARGUMENTS,
    "EventStore.sample_events": Call(
        lambda _: {"stored_type": StoredType("noted", 1, 1, 1, 1), "limit": 1},
        {
            "stored_type": [
                refused([None, 5, "noted", ("noted", 1, 1, 1, 1), Nameless()]),
            ],
            "limit": COUNT,
        },
    ),
    "StreamReads.read_snapshot": Call(lambda _: {"stream_id": "note-1"}, {"stream_id": STREAM_ID, "tx": TX}),
    "EventStore.write_snapshot": Call(
        lambda _: {"snapshot": Snapshot(**SNAPSHOT)},
        {
            "snapshot": [
                refused([None, 5, "{}", SNAPSHOT, Nameless()]),
                refused(
                    [Snapshot(**SNAPSHOT | {"stream_id": bad}) for bad in NOT_A_STREAM_ID],
                    InvalidStreamIdError,
                    "stream_id",
                ),
                *(
                    refused([Snapshot(**SNAPSHOT | {field: bad}) for bad in values], named=field)
                    for field, values in {
                        "stream_version": [*NOT_A_COUNT, 2**31],
                        "event_id": NOT_A_UUID,
                        "state_version": [*NOT_A_COUNT, 2**31],
                        "state_shape": [*NOT_TEXT, *UNSTORABLE_TEXT],
                        "state": [*NOT_TEXT, *UNSTORABLE_TEXT],
                    }.items()
                ),
            ]
        },
    ),
    # What a store implements.
    "EventStore.append": Call(
        lambda world: {"commit": world.store.encode("note-6", ANY, [Noted()])}, {"commit": CHECKED, "tx": TX}
    ),
    "EventStore.append_group": Call(
        lambda world: {"group": CommitGroup((world.store.encode("note-7", ANY, [Noted()]),), {})},
        {"group": CHECKED, "tx": TX},
    ),
    "LogReader.log_page": Call(
        lambda _: {"from_position": 0, "limit": 1, "where": LogFilter()},
        {"from_position": CHECKED, "limit": CHECKED, "where": CHECKED, "seen": CHECKED, "up_to": CHECKED},
    ),
    "LogReader.log_page_backwards": Call(
        lambda _: {"before_position": 2, "limit": 1, "where": LogFilter()},
        {"before_position": CHECKED, "limit": CHECKED, "where": CHECKED, "up_to": CHECKED},
    ),
    "LogReader.fence_holders": Call(lambda _: {"before_position": 1}, {"before_position": CHECKED}),
}

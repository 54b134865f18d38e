"""The calls that load and save: repositories, several aggregates at once, and the gate before a deployment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import perdure
from perdure import (
    InvalidStreamIdError,
    RetryConfig,
)
from tests.bad_input.store_calls import CONDITIONS, OPTIONAL_COUNT, TX
from tests.bad_input.table import USERS_OWN, Call, Table, refused
from tests.bad_input.values import (
    NOT_A_CLASS,
    NOT_A_COMMAND_ID,
    NOT_A_COUNT,
    NOT_A_FLAG,
    NOT_A_FUNCTION,
    NOT_A_LIST,
    NOT_A_TIME,
    NOT_A_VERSION_TO_EXPECT,
    NOT_IN_A_STREAM_ID,
    NOT_TEXT,
    Nameless,
    but,
)
from tests.bad_input.world import MEMO, Letter, Note, World, written

NOT_A_STORE: Final = (None, 5, "postgresql://h/d", b"", Nameless(), perdure.EventStore)
STORE: Final = [refused(NOT_A_STORE)]
RETRY: Final = [refused([0, 5, True, "3", {}, Nameless(), RetryConfig])]
SNAPSHOT_EVERY: Final = [refused([*but(NOT_A_COUNT, None), 0])]
CACHE_SIZE: Final = [refused([*but(NOT_A_COUNT, None), 0])]
AGGREGATE: Final = [refused([None, 5, "note-1", Note, Nameless(), Letter("1")])]
EXCLUSIVE: Final = [refused(NOT_A_FLAG)]
QUEUE_COMMANDS: Final = [refused(NOT_A_FLAG)]
COMMAND_ID: Final = [refused(but(NOT_A_COMMAND_ID, None))]
FINGERPRINT: Final = [
    refused([5, True, 1.5, {}, [b"a"], bytearray(b"a"), "\ud800", Nameless(), b"without an id", "", b""])
]
SEEN_VERSION: Final = [refused(but(NOT_A_VERSION_TO_EXPECT, None))]


def aggregate_id(category: str) -> list[Any]:
    return [
        refused(NOT_TEXT),
        refused([f"{category}-1"]),
        refused(NOT_IN_A_STREAM_ID, InvalidStreamIdError, "stream_id"),
    ]


NOTE_ID: Final = aggregate_id("note")
MEMO_ID: Final = aggregate_id("memo")


async def _act_later(note: Note) -> None:
    note.write("later")


async def _write() -> list[Note]:
    return [written()]


def _deciding(aggregates: Any) -> Callable[[], Awaitable[Any]]:
    async def decide() -> Any:
        return aggregates

    return decide


def _loading(bad_id: dict[str, Any]) -> Any:
    """The rows that loading has in both repositories."""
    return {
        **bad_id,
        "at_version": OPTIONAL_COUNT,
        "at_time": [refused(but(NOT_A_TIME, None))],
        "tx": TX,
    }


def _good(arguments: dict[str, Any]) -> Callable[[World], dict[str, Any]]:
    return lambda _: arguments


REPOSITORIES: Final[Table] = {
    "Repository": Call(
        lambda world: {"aggregate_class": Note, "store": world.store},
        {
            "aggregate_class": [refused([*NOT_A_CLASS, Note("1"), World])],
            "store": STORE,
            "retry": RETRY,
            "snapshot_every": SNAPSHOT_EVERY,
            "queue_commands": QUEUE_COMMANDS,
            "cache_size": CACHE_SIZE,
        },
    ),
    "Repository.load": Call(_good({"aggregate_id": "1"}), _loading({"aggregate_id": NOTE_ID})),
    "Repository.load_or_new": Call(_good({"aggregate_id": "1"}), {"aggregate_id": NOTE_ID, "tx": TX}),
    "Repository.get": Call(_good({"aggregate_id": "1"}), {"aggregate_id": NOTE_ID, "tx": TX}),
    "Repository.history": Call(_good({"aggregate_id": "1"}), {"aggregate_id": NOTE_ID, "tx": TX}),
    "Repository.save": Call(lambda _: {"aggregate": written()}, {"aggregate": AGGREGATE, "tx": TX}),
    "Repository.save_with_retry": Call(lambda _: {"aggregate": written()}, {"aggregate": AGGREGATE, "retry": RETRY}),
    "Repository.execute": Call(
        _good({"aggregate_id": "2", "action": lambda note: note.write("a")}),
        {
            "aggregate_id": NOTE_ID,
            "action": [refused([*NOT_A_FUNCTION, _act_later, lambda note: asyncio.sleep(0, note)])],
            "command_id": COMMAND_ID,
            "fingerprint": FINGERPRINT,
            "expected_version": SEEN_VERSION,
            "retry": RETRY,
            "exclusive": EXCLUSIVE,
        },
    ),
    "DeciderRepository": Call(
        lambda world: {"decider": MEMO, "store": world.store},
        {
            "decider": [refused([*NOT_A_CLASS, Note, perdure.Decider])],
            "store": STORE,
            "retry": RETRY,
            "snapshot_every": SNAPSHOT_EVERY,
            "queue_commands": QUEUE_COMMANDS,
            "cache_size": CACHE_SIZE,
        },
    ),
    "DeciderRepository.load": Call(_good({"aggregate_id": "1"}), _loading({"aggregate_id": MEMO_ID})),
    "DeciderRepository.load_aggregate": Call(_good({"aggregate_id": "1"}), {"aggregate_id": MEMO_ID, "tx": TX}),
    "DeciderRepository.get": Call(_good({"aggregate_id": "1"}), {"aggregate_id": MEMO_ID, "tx": TX}),
    "DeciderRepository.history": Call(_good({"aggregate_id": "1"}), {"aggregate_id": MEMO_ID, "tx": TX}),
    "DeciderRepository.execute": Call(
        _good({"aggregate_id": "2", "command": "a"}),
        {
            "aggregate_id": MEMO_ID,
            "command": USERS_OWN,
            "command_id": COMMAND_ID,
            "fingerprint": FINGERPRINT,
            "expected_version": SEEN_VERSION,
            "retry": RETRY,
            "exclusive": EXCLUSIVE,
        },
    ),
    "save_all": Call(
        lambda world: {"store": world.store, "aggregates": [written(), Note("seen")]},
        {
            "store": STORE,
            "aggregates": [
                refused([*NOT_A_LIST, [None], [5], [Nameless()], [Note], [Note("1"), Note("1")]]),
            ],
            "conditions": [*CONDITIONS, refused([{"note-seen": 0}])],
            "tx": TX,
        },
    ),
    "execute_all": Call(
        lambda world: {"store": world.store, "decide": _write},
        {
            "store": STORE,
            "decide": [
                refused([*NOT_A_FUNCTION, lambda: [written()], lambda: None]),
                refused([_deciding(bad) for bad in [*NOT_A_LIST, [5]]], named="aggregates"),
            ],
            "command_id": COMMAND_ID,
            "fingerprint": FINGERPRINT,
            "retry": RETRY,
        },
    ),
    "check_stored_events": Call(
        lambda world: {"store": world.store},
        {
            "store": STORE,
            "samples": [refused([*but(NOT_A_COUNT, None), 0])],
            "ignore": [refused([None, 5, True, "ab", b"ab", iter([]), Nameless(), [5], [None], [b"a"]])],
        },
    ),
}

"""Reads of rows of a projection, and what they must refuse."""

from typing import Any, Final

from tests.bad_input.repository_calls import NOT_A_STORE
from tests.bad_input.store_calls import TX
from tests.bad_input.table import Call, Table, refused
from tests.bad_input.values import HUGE_TEXT, NOT_A_COUNT, NOT_A_TIME, NOT_TEXT, NUL, UNSTORABLE_TEXT, but
from tests.bad_input.world import Pages

PAST: Final = {
    "at_position": [refused(but(NOT_A_COUNT, None))],
    "at_time": [refused(but(NOT_A_TIME, None))],
}
WHEN: Final = {"tx": TX, **PAST}

OF_A_QUERY: Final = {
    "order_by": [refused([*NOT_TEXT, "", "-", "visits", ["page", "-page"], HUGE_TEXT, *UNSTORABLE_TEXT])],
    "limit": [refused([*NOT_A_COUNT, 0, 10_001])],
    "after": [refused([*but(NOT_TEXT, None), "", "W10", HUGE_TEXT, *UNSTORABLE_TEXT])],
    "values": [
        refused([{"page": bad} for bad in (*NOT_TEXT, *UNSTORABLE_TEXT)], named="page"),
        refused([{"visits": 5}], named="visits"),
        refused([{NUL: 5}], named="field"),
    ],
    **WHEN,
}


async def get(store: Any, key: object, **options: Any) -> object:
    return await Pages.get(store, key, **options)


ROWS: Final[Table] = {
    "TableProjection.get": Call(
        lambda world: {"store": world.store, "key": "a", "at_position": 0},
        {
            "store": [refused(NOT_A_STORE)],
            "key": [refused([*NOT_TEXT, *UNSTORABLE_TEXT])],
            **WHEN,
        },
        lambda _: get,
    ),
    "TableProjection.find": Call(
        lambda world: {"store": world.store, "at_position": 0, "values": {"page": "a"}},
        {"store": [refused(NOT_A_STORE)], **OF_A_QUERY},
        lambda _: lambda store, values, **options: Pages.find(store, **options, **values),
    ),
    "TableProjection.find_children": Call(
        lambda world: {"store": world.store, "child": Pages.visitors, "at_position": 0, "values": {"page": "a"}},
        {"store": [refused(NOT_A_STORE)], "child": [refused([*NOT_TEXT, Pages])], **OF_A_QUERY},
        lambda _: lambda store, child, values, **options: Pages.find_children(store, child, **options, **values),
    ),
}

"""The calls of an application."""

from collections.abc import Callable
from typing import Any, Final

import perdure
from perdure import (
    Application,
    EventStore,
    InMemoryEventStore,
    InvalidStreamIdError,
    UnknownAggregateError,
    UnknownProjectionError,
)
from tests.bad_input.projection_calls import NOT_A_NAME
from tests.bad_input.reaction_calls import REACTION, Noticing
from tests.bad_input.repository_calls import CACHE_SIZE, QUEUE_COMMANDS, RETRY, SNAPSHOT_EVERY
from tests.bad_input.table import CHECKED, Call, Table, refused
from tests.bad_input.values import NOT_A_LIST, NOT_A_STREAM_ID, Nameless, but
from tests.bad_input.world import MEMO, PROJECTION, Letter, Note, Pages, World

STORE: Final = [
    refused([5, True, b"postgresql://h", [], Nameless(), perdure.EventStore, {"pool": 3}, {5: 3}, {Nameless(): 3}])
]
NAME: Final = [refused(NOT_A_NAME, UnknownProjectionError, "projection")]


def application(world: World) -> Application[EventStore]:
    return Application(world.store, aggregates=[Note, MEMO], projections=[PROJECTION], reactions=[REACTION])


def connected(method: str) -> Callable[[World], Callable[..., Any]]:
    def prepare(world: World) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            app = application(world)
            async with app.connect():
                return getattr(app, method)(**arguments)

        return call

    return prepare


APPLICATION: Final[Table] = {
    "Application": Call(
        lambda world: {"store": world.store, "aggregates": [Note], "projections": [PROJECTION]},
        {
            "store": STORE,
            "aggregates": [
                refused(NOT_A_LIST),
                refused([[bad] for bad in (None, 5, "note", Note("1"), Pages, Nameless())]),
                refused([[Note, Note], [MEMO, MEMO]]),
            ],
            "projections": [
                refused(NOT_A_LIST),
                refused([[bad] for bad in (None, 5, "pages", Pages, Note, Nameless())]),
                refused([[PROJECTION, Pages()]]),
            ],
            "reactions": [
                refused(NOT_A_LIST),
                refused([[bad] for bad in (None, 5, "noticing", Noticing, Note, PROJECTION, Nameless())]),
                refused([[REACTION, Noticing()]]),
            ],
        },
    ),
    "AggregateSettings": Call(
        lambda _: {"aggregate": Note},
        {
            "aggregate": [refused([None, 5, "note", Note("1"), Nameless(), []])],
            "retry": RETRY,
            "snapshot_every": SNAPSHOT_EVERY,
            "queue_commands": QUEUE_COMMANDS,
            "cache_size": CACHE_SIZE,
        },
    ),
    "Application.connect": Call(
        lambda _: {"store": InMemoryEventStore()}, {"store": STORE}, lambda world: application(world).connect
    ),
    "Application.repository": Call(
        lambda _: {"aggregate": Note},
        {
            "aggregate": [
                refused([None, 5, "note", Note("1"), Nameless(), []]),
                refused([Letter], UnknownAggregateError, "aggregate"),
            ],
        },
        connected("repository"),
    ),
    "Application.aggregate_of": Call(
        lambda _: {"stream_id": "note-1"},
        {"stream_id": [refused(NOT_A_STREAM_ID, InvalidStreamIdError, "stream_id")]},
        lambda world: application(world).aggregate_of,
    ),
    "Application.projection": Call(
        lambda _: {"name": "bad_input_pages"}, {"name": NAME}, lambda world: application(world).projection
    ),
    "Application.reaction": Call(
        lambda _: {"name": "bad_input_noticing"}, {"name": NAME}, lambda world: application(world).reaction
    ),
    "Application.projection_service": Call(
        lambda _: {"names": []},
        {
            "names": [
                refused(but(NOT_A_LIST, None)),
                refused([[bad] for bad in NOT_A_NAME], UnknownProjectionError, "projection"),
            ],
            "settings": CHECKED,
        },
        connected("projection_service"),
    ),
}

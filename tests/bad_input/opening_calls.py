"""The calls that make a store."""

from collections.abc import Callable
from typing import Any, Final

from perdure import ConfigurationError, connect
from tests.bad_input.definition_calls import SECONDS
from tests.bad_input.table import Call, Table, refused
from tests.bad_input.values import (
    NOT_A_COUNT,
    NOT_A_FLAG,
    NOT_A_FUNCTION,
    NOT_A_SCHEMA,
    NOT_A_URL,
    NUL,
    Nameless,
    but,
)
from tests.bad_input.world import World

URL: Final = "postgresql://localhost:1/none"
AT_LEAST_ONE: Final = [refused([*NOT_A_COUNT, 0])]
FLAG: Final = [refused(NOT_A_FLAG)]
SCHEMA: Final = [refused(NOT_A_SCHEMA)]
MORE_THAN_NOTHING: Final = [*SECONDS, refused([0])]


def _connect(world: World) -> Callable[..., Any]:
    """With a directory, there is no URL."""

    def call(url: str, **settings: Any) -> Any:
        return connect(**settings) if "directory" in settings else connect(url, **settings)

    return call


OPENING: Final[Table] = {
    "connect": Call(
        lambda _: {"url": URL},
        {
            "url": [refused(NOT_A_URL, ConfigurationError, "URL")],
            "schema": SCHEMA,
            "migrate": FLAG,
            "payload_limit": AT_LEAST_ONE,
            "directory": [refused([5, True, b"folder", "", NUL, Nameless()])],
            "direct_url": [refused(but(NOT_A_URL, None), ConfigurationError, "URL")],
            "read_only": FLAG,
        },
        _connect,
    ),
    "InMemoryEventStore": Call(lambda _: {"payload_limit": 1}, {"payload_limit": AT_LEAST_ONE}),
    "PostgreSQLEventStore": Call(
        lambda _: {"url": URL},
        {
            "url": [refused([None, *NOT_A_URL], ConfigurationError, "URL")],
            "schema": SCHEMA,
            "migrate": FLAG,
            "payload_limit": AT_LEAST_ONE,
            "pool_size": AT_LEAST_ONE,
            "append_lanes": AT_LEAST_ONE,
            "batch_commits": AT_LEAST_ONE,
            "queue_events": AT_LEAST_ONE,
            "queue_bytes": AT_LEAST_ONE,
            "append_timeout": SECONDS,
            "connect_timeout": MORE_THAN_NOTHING,
            "command_timeout": MORE_THAN_NOTHING,
            "close_timeout": SECONDS,
            "revive": [refused(but(NOT_A_FUNCTION, None))],
            "direct_url": [refused(but(NOT_A_URL, None), ConfigurationError, "URL")],
            "read_only": FLAG,
        },
    ),
}

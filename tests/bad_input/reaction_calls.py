"""The calls of reactions."""

import types
from typing import Any, Final
from uuid import UUID

from perdure import Delivery, InvalidArgumentError, Reaction, ReactionDefinitionError, handles
from perdure.projections.engines.reaction.definition import ReactionDefinition
from tests.bad_input.repository_calls import NOT_A_STORE, RETRY
from tests.bad_input.table import Call, Table, refused
from tests.bad_input.values import HUGE_TEXT, NOT_A_COUNT, NOT_TEXT, UNSTORABLE_TEXT, Nameless, but
from tests.bad_input.world import PROJECTION, Visited


class Noticing(Reaction, name="bad_input_noticing"):
    @handles
    async def visited(self, event: Visited) -> None: ...


REACTION: Final = Noticing()


def define(**settings: Any) -> ReactionDefinition:
    """Define a class of reactions with these settings, and look at it as a service does."""
    cls: Any = types.new_class("Defined", (Noticing,), settings)
    return ReactionDefinition(cls())


DEFINED: Final[Table] = {
    "Reaction.__init_subclass__": Call(
        lambda _: {"name": "defined"},
        {
            "name": [refused([*but(NOT_TEXT, None), "", *UNSTORABLE_TEXT, HUGE_TEXT], ReactionDefinitionError)],
            "key": [refused([5, True, b"page", [], "", "a b", "nowhere", lambda: "a"], ReactionDefinitionError)],
            "start": [refused(NOT_A_COUNT, ReactionDefinitionError)],
            "concurrency": [refused([*NOT_A_COUNT, 0, 1001], ReactionDefinitionError)],
            "retry": [refused(one.values, ReactionDefinitionError) for one in RETRY],
        },
        lambda _: define,
    ),
    "Delivery.key": Call(
        lambda _: {"parts": ["welcome", 7, UUID(int=1)]},
        {"parts": [refused([[], [""], [None], [True], [1.5], [b"a"], ["a", Nameless()]])]},
        lambda _: lambda parts: Delivery("a", UUID(int=1), 1, may_be_repeat=False).key(*parts),
    ),
}
RUN: Final[Table] = {
    "replay": Call(
        lambda world: {
            "store": world.store,
            "reaction": REACTION,
            "from_position": 0,
            "to_position": 1,
            "reason": "a test",
        },
        {
            "store": [refused(NOT_A_STORE)],
            "reaction": [refused([None, 5, "noticing", Noticing, PROJECTION, Nameless()], InvalidArgumentError)],
            "from_position": [refused(NOT_A_COUNT)],
            "to_position": [refused([*NOT_A_COUNT, 0])],
            "reason": [refused([*NOT_TEXT, "", " ", *UNSTORABLE_TEXT])],
            "actor": [refused([*but(NOT_TEXT, None), "", *UNSTORABLE_TEXT])],
        },
    ),
}

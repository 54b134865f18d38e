"""How a table is gone through."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from perdure import (
    ANY,
    EventStore,
    NewEvent,
    PerdureError,
    StoreUnavailableError,
    UnknownBuildError,
    UnknownProjectionError,
    UnknownTimerError,
    UnsupportedOperationError,
)
from tests.bad_input.table import Call, Refused
from tests.bad_input.world import Noted, World, performed

PATIENCE: Final = 10
LONGEST_MESSAGE: Final = 500
REACHED: Final = (
    type(None),
    UnsupportedOperationError,
    StoreUnavailableError,
    UnknownBuildError,
    UnknownProjectionError,
    UnknownTimerError,
)
"""What a call may come to whose arguments are fine: there may be no transactions, server, projection or timer."""
NOTHING: Final[Mapping[str, object]] = {}


async def holes(name: str, call: Call, store: EventStore, only: str | None = None) -> list[str]:
    """What is wrong with a call, value by value: nothing, if all is well."""
    await seed(store)
    world = World(store)
    found = []
    if not isinstance(trouble := await outcome(name, call, world), REACHED):
        found.append(f"what it takes is refused: {trouble!r}")
    before = await content(store)
    for parameter, refusals in call.bad.items():
        for refused in refusals if not isinstance(refusals, str) and only in (None, parameter) else ():
            for value in refused.values:
                error = await outcome(name, call, world, {parameter: value})
                if reason := objection(error, refused, parameter):
                    found.append(f"{parameter}={as_text(value)}: {reason}")
    if await content(store) != before:
        found.append("something was written")
    return found


async def seed(store: EventStore) -> None:
    """Append what the calls read; a repeat changes nothing."""
    for number, stream_id in enumerate(("note-1", "memo-1")):
        await store.append_to_stream(stream_id, ANY, [NewEvent(Noted(), event_id=UUID(int=number))])


async def outcome(name: str, call: Call, world: World, changed: Mapping[str, object] = NOTHING) -> BaseException | None:
    """What the call raises."""
    try:
        async with asyncio.timeout(PATIENCE):
            function = call.function(world) if call.function else world.function(name)
            await performed(function(**{**call.good(world), **changed}))
    except Exception as error:  # noqa: BLE001 - which one it is, is what is tested
        return error
    return None


def objection(error: BaseException | None, refused: Refused, parameter: str) -> str | None:
    """What is wrong with how a value was refused."""
    named = refused.named or parameter
    if error is None:
        return "it was taken"
    if not isinstance(error, refused.error) or not isinstance(error, PerdureError):
        return f"it raised {error!r}"
    if named not in str(error) and getattr(error, "argument", None) != named:
        return f"the message doesn't name {named}: {error}"
    return f"the message has {len(str(error))} characters" if len(str(error)) > LONGEST_MESSAGE else None


async def content(store: EventStore) -> list[object]:
    """Everything in the store."""
    events = [stored.event_id for stored in await store.read_all_events()]
    return [*events, *[await store.read_snapshot(stream) for stream in ("note-1", "note-2", "memo-1")]]


def as_text(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001 - such values are among the hostile ones
        return type(value).__name__

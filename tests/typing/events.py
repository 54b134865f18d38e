"""What type checkers see of events. `make types` checks this file; nothing runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

import attrs
import msgspec
from pydantic import BaseModel

from perdure import (
    CheckedType,
    EventMetadata,
    EventStore,
    NewEvent,
    StoredEvent,
    check_stored_events,
    context,
    current_context,
    event,
    field,
    upcast,
)
from perdure.context import Context


@event("typing.plain")
class Plain:
    name: str
    count: int = 1
    tags: list[str] = field(default_factory=list)


@event("typing.dataclass")
@dataclass
class Data:
    name: str
    count: int = 1


@event("typing.frozen_dataclass")
@dataclass(frozen=True, kw_only=True)
class FrozenData:
    name: str
    count: int = 1


@event("typing.struct")
class Struct(msgspec.Struct):
    name: str
    count: int = 1


@event("typing.frozen_struct")
class FrozenStruct(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tags: list[str] = msgspec.field(default_factory=list)


assert_type(Plain(name="a"), Plain)
assert_type(Plain(name="a", count=2, tags=["b"]), Plain)
assert_type(Plain(name="a").tags, list[str])
assert_type(Data(name="a", count=2), Data)
assert_type(FrozenData(name="a"), FrozenData)
assert_type(Struct("a", 2), Struct)
assert_type(Struct(name="a").name, str)
assert_type(FrozenStruct(name="a", tags=[]), FrozenStruct)


@event("typing.versioned", version=2)
class Versioned:
    name: str


assert_type(Versioned(name="a").name, str)


def a_plain_class_becomes_keyword_only_and_frozen(plain: Plain) -> None:
    Plain("a")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the point: it takes no positions
    plain.name = "b"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue] - the point: it is frozen


def fields_are_checked() -> None:
    Plain()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the point: `name` is required
    Plain(name=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it is a str


def a_dataclass_takes_positions_for_mypy_and_at_run_time() -> None:
    # pyright lets @event, the outer decorator, overrule @dataclass, and takes keywords only.
    assert_type(Data("a", 2), Data)  # pyright: ignore[reportCallIssue] - see above


def written(stored: StoredEvent) -> None:
    assert_type(NewEvent(Plain(name="a")).metadata, EventMetadata)
    assert_type(stored.stream_version, int)
    assert_type(stored.metadata.correlation_id, str | None)
    assert_type(stored.timestamp, datetime)


def with_context() -> None:
    with context(correlation_id=UUID(int=1), user_id="ann") as here:
        assert_type(here, Context)
    assert_type(current_context().headers, Mapping[str, str])


@event("typing.attrs")
@attrs.define
class Attrs:
    name: str
    count: int = attrs.field(default=1)


@event("typing.pydantic", aliases=("typing.model",))
class Model(BaseModel):
    name: str
    count: int = 1


assert_type(Attrs(name="a", count=2).count, int)
assert_type(Model(name="a", count=2).count, int)


@upcast("typing.plain", from_version=1)
def add_count(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "count": 1}


@upcast("typing.plain", from_version=2)
def add_author(data: dict[str, Any], metadata: EventMetadata) -> dict[str, Any]:
    return {**data, "author": metadata.user_id}


assert_type(add_count({}), dict[str, Any])


def upcasters_are_checked(stored: StoredEvent) -> None:
    upcast("typing.plain", from_version=1)(returns_nothing)  # type: ignore[type-var] # pyright: ignore[reportArgumentType] - the point: it returns no dict
    upcast("typing.plain", from_version=1)(takes_an_event)  # type: ignore[type-var] # pyright: ignore[reportArgumentType] - the point: it takes no dict
    upcast("typing.plain", 1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the point: the version is named
    assert_type(stored.upcast_data, dict[str, Any])


def returns_nothing(data: dict[str, Any]) -> None: ...


def takes_an_event(plain: Plain) -> dict[str, Any]:
    return {"name": plain.name}


async def the_gate(store: EventStore) -> None:
    report = await check_stored_events(store, samples=None, ignore=["typing.plain"])
    assert_type(report.problems, list[CheckedType])

"""Stores with one append lane, what such a store sends, and streams that another transaction has locked."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from perdure.commit import (
    ANY,
    Commit,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import Noted, notes


class Tries(list[tuple[int, bool]]):
    """What a store sends: for each statement that appends, how many commits it holds, and whether ids are looked up."""

    def __init__(self, store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
        appends = store._group._writer._appends
        many, one = appends.append_batch, appends.append_commit

        async def noted_many(to: Any, commits: Sequence[Commit], *, look_up: bool, **settings: Any) -> Any:
            self.append((len(commits), look_up))
            return await many(to, commits, look_up=look_up, **settings)

        async def noted_one(to: Any, commit: Commit, *, look_up: bool, **settings: Any) -> Any:
            self.append((1, look_up))
            return await one(to, commit, look_up=look_up, **settings)

        monkeypatch.setattr(appends, "append_batch", noted_many)
        monkeypatch.setattr(appends, "append_commit", noted_one)


@asynccontextmanager
async def one_lane(url: str, **settings: Any) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(url, append_lanes=1, **settings) as store:
        yield store


def event(text: object, event_id: UUID | None = None) -> NewEvent:
    return NewEvent(Noted(text=str(text)), event_id=event_id)


def others(store: PostgreSQLEventStore, count: int, name: str = "other") -> list[Any]:
    """Appends to as many streams."""
    return [store.append_to_stream(f"note-{name}-{n:03}", ANY, notes(n)) for n in range(count)]


async def gathered(*appends: Any) -> list[Any]:
    return await asyncio.gather(*appends, return_exceptions=True)


@asynccontextmanager
async def locked_stream(url: str, stream_id: str) -> AsyncIterator[None]:
    """An open transaction of another store that has appended to the stream."""
    async with PostgreSQLEventStore(url) as other, other.transaction() as tx:
        await other.append_to_stream(stream_id, ANY, notes("theirs"), tx=tx)
        yield

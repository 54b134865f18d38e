"""Reads of the caller's own writes: a read up to an append includes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest

from perdure.commit import ANY, AppendResult
from perdure.context import context
from perdure.errors import InvalidArgumentError
from perdure.store import EventStore
from perdure.testing.conformance.samples import Noted, accepted, notes, texts
from perdure.testing.conformance.subscriptions import PATIENCE

BAD_UP_TO: Final[Sequence[object]] = [True, "1", b"1", 1.0, -1, 2**63, [], (), [1], ["note-1"], {}, object()]
BAD_TIMEOUTS: Final[Sequence[object]] = [None, True, "1", -1, float("nan"), float("inf")]


async def _iterated(store: EventStore, **settings: Any) -> list[str]:
    return texts([one async for one in store.iterate_all_events(**settings)])


async def _caused(store: EventStore, **settings: Any) -> list[str]:
    return [stored.event.text for top in await store.causation_tree("request", **settings) for _, stored in top.walk()]


async def _forwards(store: EventStore, **settings: Any) -> list[str]:
    return texts(await store.read_all_events(**settings))


async def _backwards(store: EventStore, **settings: Any) -> list[str]:
    return texts((await store.read_all_events_backwards(**settings))[::-1])


WAYS: list[Callable[..., Awaitable[list[str]]]] = [_forwards, _backwards, _iterated, _caused]


class OwnWrites:
    """The part of the suite on reading what was just appended."""

    @pytest.mark.parametrize("read", WAYS)
    async def test_what_is_read_up_to_an_append_includes_it_while_others_append(
        self, store: EventStore, read: Callable[..., Awaitable[list[str]]]
    ) -> None:
        async def append_and_read(writer: int) -> None:
            for n in range(10):
                with context(correlation_id="request"):
                    mine = await store.append_to_stream(f"note-{writer}", ANY, notes(f"{writer}.{n}"))
                found = await read(store, up_to=mine)
                assert f"{writer}.{n}" in found
                assert len(set(found)) == len(found)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for writer in range(6):
                tasks.create_task(append_and_read(writer))

    async def test_up_to_takes_what_any_append_returned_or_a_position(self, store: EventStore) -> None:
        results: list[AppendResult | None] = [
            *await store.append_to_streams([("note-1", 0, notes("a")), ("note-2", 0, notes("b"))]),
            None,  # a repository returns None for an aggregate that raised no events
        ]
        last = await store.append_to_stream("note-3", 0, notes("c"))

        for up_to in (None, 0, 1, results, tuple(results), [None], last, last.global_position):
            assert await _forwards(store, up_to=up_to) == ["a", "b", "c"], up_to
        assert await _forwards(store, up_to=last, event_types=[Noted], category="note", max_count=2) == ["a", "b"]
        assert await _forwards(store, up_to=last, from_position=last.global_position) == []
        assert await _backwards(store, up_to=last, before_position=last.global_position, max_count=1) == ["b"]

    @pytest.mark.parametrize("read", WAYS)
    async def test_a_position_that_no_append_was_given_is_refused(
        self, store: EventStore, read: Callable[..., Awaitable[list[str]]]
    ) -> None:
        with pytest.raises(InvalidArgumentError, match="up_to is position 1, but the log ends at 0"):
            await read(store, up_to=1)
        last = (await store.append_to_stream("note-1", 0, notes("a"))).global_position
        with pytest.raises(InvalidArgumentError, match=f"up_to is position {last + 1}, but the log ends at {last}"):
            await read(store, up_to=last + 1)

    @pytest.mark.parametrize("read", WAYS)
    async def test_what_is_no_append_and_no_time_is_refused(
        self, store: EventStore, read: Callable[..., Awaitable[list[str]]]
    ) -> None:
        assert await accepted(BAD_UP_TO, lambda bad: read(store, up_to=bad)) == []
        assert await accepted(BAD_TIMEOUTS, lambda bad: read(store, timeout=bad)) == []

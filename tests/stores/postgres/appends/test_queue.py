"""The queue of appends: bounded, in turn, fair to each stream. No database here."""

import asyncio
from uuid import uuid4

import pytest

from perdure.commit import ANY, AppendResult, Commit, EncodedEvent
from perdure.errors import StoreOverloadedError
from perdure.stores.postgres.appends.queue import AppendQueue, QueuedAppend


def queue(**limits: float) -> AppendQueue:
    defaults = {"max_events": 100, "max_bytes": 10_000, "batch_commits": 10, "batch_bytes": 1_000, "timeout": 60.0}
    return AppendQueue(**{**defaults, **limits})  # type: ignore[arg-type]  # whole numbers, but for the time-out


def commit(stream_id: str, events: int = 1, size: int = 10) -> Commit:
    encoded = tuple(EncodedEvent(uuid4(), "test.queue.event", 1, "{}", "{}") for _ in range(events))
    return Commit(stream_id, ANY, encoded, size)


def streams(batch: list[QueuedAppend]) -> list[str]:
    return [pending.commit.stream_id for pending in batch]


def result(pending: QueuedAppend) -> None:
    pending.future.set_result(AppendResult(pending.commit.stream_id, 1, (1,)))


async def test_a_batch_is_sorted_by_stream_and_keeps_the_order_within_each() -> None:
    waiting = queue()
    b1, a1, b2, a2 = [waiting.put(commit(stream)) for stream in ("x-b", "x-a", "x-b", "x-a")]

    assert waiting.take(1) == [a1, a2, b1, b2]


async def test_a_stream_under_way_is_held_and_the_others_pass() -> None:
    waiting = queue()
    first = waiting.put(commit("x-a"))
    batch = waiting.take(1)
    second, other = waiting.put(commit("x-a")), waiting.put(commit("x-b"))

    assert batch == [first]
    assert waiting.take(1) == [other]
    assert waiting.take(1) == []

    waiting.finish(batch)

    assert waiting.take(1) == [second]


async def test_what_must_be_tried_again_comes_before_the_later_commits_of_its_stream() -> None:
    waiting = queue()
    first, second = waiting.put(commit("x-a")), waiting.put(commit("x-a"))
    batch = waiting.take(1)
    third = waiting.put(commit("x-a"))
    assert waiting.take(1) == []
    fourth = waiting.put(commit("x-a"))
    result(first)

    waiting.finish(batch, [second])

    assert waiting.take(1) == [second, third, fourth]


async def test_a_stream_that_was_locked_rests_for_a_pause_and_keeps_its_order() -> None:
    waiting = queue()
    locked, other = waiting.put(commit("x-a")), waiting.put(commit("x-b"))
    batch = waiting.take(1)
    later = waiting.put(commit("x-a"))
    told = asyncio.Event()
    waiting.on_ready = told.set

    waiting.finish(batch, [locked], pause=0.001)

    assert waiting.take(1) == []
    assert not waiting.is_empty
    await told.wait()
    assert waiting.take(1) == [locked, later]
    assert other not in (locked, later)


async def test_a_lane_takes_its_share_and_leaves_the_rest_to_the_free_ones() -> None:
    waiting = queue()
    for number in range(5):
        waiting.put(commit(f"x-{number}"))

    assert len(waiting.take(2)) == 3
    assert waiting.ready == 2
    assert len(waiting.take(2)) == 1


async def test_a_batch_holds_so_many_commits_and_bytes_and_a_large_commit_goes_alone() -> None:
    waiting = queue(batch_commits=3, batch_bytes=100)
    for number in range(4):
        waiting.put(commit(f"x-{number}", size=40))
    waiting.put(commit("x-4", size=5_000))

    assert streams(waiting.take(1)) == ["x-0", "x-1"]
    assert streams(waiting.take(1)) == ["x-2", "x-3"]
    assert streams(waiting.take(1)) == ["x-4"]

    for number in range(5, 9):
        waiting.put(commit(f"x-{number}"))
    assert streams(waiting.take(1)) == ["x-5", "x-6", "x-7"]


async def test_the_same_append_twice_is_taken_in_two_batches() -> None:
    waiting = queue()
    twice = commit("x-a")
    first, second = waiting.put(twice), waiting.put(twice)

    batch = waiting.take(1)

    assert batch == [first]
    assert waiting.take(1) == []
    waiting.finish(batch)
    assert waiting.take(1) == [second]


async def test_what_follows_a_repeat_in_its_stream_waits_behind_it_and_other_streams_pass() -> None:
    waiting = queue()
    twice = commit("x-a")
    first, second, behind, other = [waiting.put(one) for one in (twice, twice, commit("x-a"), commit("x-b"))]

    batch = waiting.take(1)

    assert batch == [first, other]
    waiting.finish(batch)
    assert waiting.take(1) == [second, behind]


async def test_a_commit_that_held_up_its_batch_is_taken_without_others() -> None:
    waiting = queue()
    before, lone, after = [waiting.put(commit(stream)) for stream in ("x-a", "x-b", "x-c")]
    lone.is_alone = True

    assert [waiting.take(1) for _ in range(3)] == [[before], [lone], [after]]


async def test_commits_that_find_the_queue_full_are_admitted_in_order() -> None:
    waiting = queue(max_events=2)
    inside = [waiting.put(commit("x-a")), waiting.put(commit("x-b"))]
    large, small = waiting.put(commit("x-c", events=2)), waiting.put(commit("x-d"))
    batch = waiting.take(1)
    assert batch == inside

    waiting.finish(batch, inside[1:])  # one place is free: too little for the first in turn, and nobody overtakes him

    assert waiting.take(1) == inside[1:]
    waiting.finish(inside[1:])
    assert waiting.take(1) == [large]
    waiting.finish([large])
    assert waiting.take(1) == [small]
    waiting.finish([small])
    assert waiting.is_empty


async def test_a_later_commit_never_overtakes_one_that_was_just_admitted() -> None:
    waiting = queue(max_events=2)
    inside = [waiting.put(commit("x-a")), waiting.put(commit("x-b"))]
    earlier = waiting.put(commit("x-c"))
    waiting.finish(waiting.take(1))

    later = waiting.put(commit("x-c"))

    assert waiting.take(1) == [earlier, later]
    assert inside[0].future.done() is False


async def test_bytes_count_as_events_do() -> None:
    waiting = queue(max_bytes=100)
    first, second = waiting.put(commit("x-a", size=60)), waiting.put(commit("x-b", size=60))

    assert waiting.take(1) == [first]
    assert waiting.take(1) == []
    waiting.finish([first])
    assert waiting.take(1) == [second]


async def test_a_commit_larger_than_the_room_has_it_alone() -> None:
    waiting = queue(max_events=2)
    first, large, third = [waiting.put(commit(f"x-{n}", events=n)) for n in (1, 5, 2)]

    assert waiting.take(1) == [first]
    waiting.finish([first])
    assert waiting.take(1) == [large]
    waiting.finish([large])
    assert waiting.take(1) == [third]


async def test_a_commit_that_waits_too_long_for_room_is_rejected() -> None:
    waiting = queue(max_events=1, timeout=0.001)
    waiting.put(commit("x-a"))

    with pytest.raises(StoreOverloadedError, match=r"queue of appends was full for 0\.001 s and nothing was written"):
        await waiting.put(commit("x-b")).future

    waiting.finish(waiting.take(1))
    assert waiting.is_empty


async def test_when_a_commit_is_rejected_the_next_may_fit() -> None:
    waiting = queue(max_events=2)
    inside = waiting.put(commit("x-a"))
    large, small = waiting.put(commit("x-b", events=2)), waiting.put(commit("x-c"))
    told = asyncio.Event()
    waiting.on_ready = told.set

    waiting._reject(large)

    assert isinstance(large.future.exception(), StoreOverloadedError)
    assert told.is_set()
    assert waiting.take(1) == [inside, small]


async def test_a_cancelled_commit_is_dropped_and_makes_room() -> None:
    waiting = queue(max_events=1)
    cancelled, next_in_turn = waiting.put(commit("x-a")), waiting.put(commit("x-b"))
    cancelled.future.cancel()

    # Regression: a lane that found nothing but cancelled commits left those who wait before the room outside.
    assert waiting.take(1) == []
    assert waiting.take(1) == [next_in_turn]


async def test_a_commit_that_is_cancelled_while_it_waits_for_room_makes_way() -> None:
    waiting = queue(max_events=2)
    inside = waiting.put(commit("x-a"))
    large, small = waiting.put(commit("x-b", events=2)), waiting.put(commit("x-c"))
    large.future.cancel()

    waiting.admit()

    assert waiting.take(1) == [inside, small]
    waiting.finish([inside, small])
    assert waiting.is_empty


async def test_giving_up_takes_out_everything_that_waits() -> None:
    waiting = queue(max_events=3)
    under_way = waiting.put(commit("x-a"))
    waiting.take(1)
    held = waiting.put(commit("x-a"))
    assert waiting.take(1) == []
    ready, outside = waiting.put(commit("x-b")), waiting.put(commit("x-c"))

    assert set(waiting.clear()) == {held, ready, outside}

    assert waiting.ready == 0
    assert under_way.future.done() is False

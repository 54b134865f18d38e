"""Waiting for a position: one loop, whatever reads the progress."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import pytest

from perdure.errors import LogDivergedError, ProjectionPausedError, ProjectionTimeoutError
from perdure.projections.runtime.progress import BuildProgress, wait_until_reached
from perdure.projections.state.failures import EventFailure

DIVERGED = LogDivergedError("projection 'pages'", 3, UUID(int=1), UUID(int=2))


class OneSegment(NamedTuple):
    """The only segment of a build."""

    global_position: int
    is_paused: bool = False
    failure: EventFailure | None = None


def at(position: int, *, is_paused: bool = False, diverged: LogDivergedError | None = None) -> BuildProgress:
    return BuildProgress(position, [OneSegment(position, is_paused)], "the database is down", diverged)


class Scripted:
    """Returns one progress after the other, and then the last one again.

    Args:
        progress: what is read.
        is_current: whether the views still show the build, each time that this is asked; always, by default.
    """

    def __init__(self, *progress: BuildProgress, is_current: Sequence[bool] = ()) -> None:
        self.waits = 0
        self._progress = list(progress)
        self._is_current = list(is_current)

    async def read(self) -> BuildProgress:
        return self._progress.pop(0) if len(self._progress) > 1 else self._progress[0]

    async def is_current(self) -> bool:
        return self._is_current.pop(0) if self._is_current else True

    async def wait(self, timeout: float) -> None:
        assert timeout > 0
        self.waits += 1
        await asyncio.sleep(0)


async def wait(source: Scripted, timeout: float = 3600) -> None:
    await wait_until_reached(source, "pages", 5, timeout)


async def test_it_ends_when_the_position_is_reached() -> None:
    source = Scripted(at(0), at(4), at(5))
    await wait(source)

    assert source.waits == 2


@pytest.mark.parametrize("reached", [at(5, is_paused=True), at(6, diverged=DIVERGED)])
async def test_a_position_that_is_reached_counts_whatever_is_wrong_now(reached: BuildProgress) -> None:
    await wait(Scripted(reached), timeout=0)


async def test_it_says_how_far_the_rows_are_and_why_when_time_is_up() -> None:
    with pytest.raises(ProjectionTimeoutError, match="the database is down") as caught:
        await wait(Scripted(at(2)), timeout=0)

    assert (caught.value.reached, caught.value.global_position) == (2, 5)


async def test_a_pause_before_the_position_ends_it_at_once() -> None:
    with pytest.raises(ProjectionPausedError, match="an operator paused it") as caught:
        await wait(Scripted(at(1), at(2, is_paused=True)))

    assert caught.value.global_position == 3


async def test_a_log_that_lacks_the_event_of_a_checkpoint_ends_it_at_once() -> None:
    with pytest.raises(LogDivergedError):
        await wait(Scripted(at(1), at(2, diverged=DIVERGED)))


@pytest.mark.parametrize("before", [at(5), at(2, is_paused=True), at(2, diverged=DIVERGED)])
async def test_it_goes_on_with_another_build_if_the_views_show_that_now(before: BuildProgress) -> None:
    source = Scripted(before, at(4), at(5), is_current=[False, True])
    await wait(source)

    assert source.waits == 1


async def test_when_time_is_up_another_build_may_still_have_reached_the_position() -> None:
    await wait(Scripted(at(2), at(5), is_current=[False, True]), timeout=0)

"""Attempts at events that fail, counted for each segment by itself."""

import pytest

from perdure.projections.runtime.retries import Retries
from perdure.projections.state.options import EVENT_RETRY
from perdure.projections.state.segments import Checkpoint, Segment
from perdure.repository import RetryConfig


def segment(first_hash: int, position: int) -> Segment:
    return Segment(
        first_hash=first_hash,
        last_hash=first_hash + 99,
        checkpoint=Checkpoint(position, None),
        is_paused=False,
        failure=None,
        owner="me",
        epoch=1,
        is_leased=True,
        hold_at=None,
    )


def test_segments_that_fail_in_turn_do_not_reset_each_others_attempts() -> None:
    retries = Retries(RetryConfig(base_delay=0))
    one, other = segment(0, 4), segment(100, 8)
    for attempts in (1, 2, 3):
        assert retries.failed([one], 5, now=0) == attempts
        assert retries.failed([other], 9, now=0) == attempts


def test_another_event_and_a_fresh_start_reset_the_attempts() -> None:
    retries = Retries(RetryConfig(base_delay=0))
    assert [retries.failed([segment(0, 4)], position, now=0) for position in (5, 5, 6, 5)] == [1, 2, 1, 1]
    retries.forget([segment(0, 4), segment(100, 4)])
    assert retries.failed([segment(0, 4)], 5, now=0) == 1


def test_a_segment_waits_for_its_next_attempt_while_it_is_before_the_event() -> None:
    retries = Retries(RetryConfig(base_delay=1))
    retries.failed([segment(0, 4)], 5, now=1000.0)
    assert 1000.0 <= retries.due(segment(0, 4)) <= 1001.0
    assert retries.due(segment(0, 5)) == 0
    assert retries.due(segment(100, 4)) == 0


@pytest.mark.parametrize("retry", [RetryConfig(max_attempts=3), EVENT_RETRY])
def test_a_number_of_attempts_is_made_however_long_each_takes(retry: RetryConfig) -> None:
    retries = Retries(retry)
    for attempt in (1, 2, 3):
        retries.failed([segment(0, 4)], 5, now=attempt * 86400.0)
        assert retries.was_last(segment(0, 4)) is (attempt == 3)


def test_without_a_number_of_attempts_time_ends_them() -> None:
    retries = Retries(RetryConfig(base_delay=0, max_seconds=10))
    for now, is_last in ((100.0, False), (109.0, False), (110.0, True)):
        retries.failed([segment(0, 4)], 5, now)
        assert retries.was_last(segment(0, 4)) is is_last

"""How often, and after which pauses."""

import math
import pickle
from typing import Any

import pytest

from perdure import (
    InvalidArgumentError,
    NewEvent,
    OptimisticConcurrencyError,
    RetryConfig,
)
from perdure.testing import sequential_ids
from tests.repository.accounts import Audited


def test_the_longest_pause_doubles_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.retry.random.uniform", lambda low, high: high)
    retry = RetryConfig(base_delay=0.1, max_delay=1)

    assert [retry.delay(attempt) for attempt in (1, 2, 3, 4, 5, 10_000)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1,
        1,
    ]


def test_pauses_are_drawn_in_between() -> None:
    drawn = {RetryConfig().delay(1) for _ in range(10)}

    assert len(drawn) > 1
    assert all(0 <= delay <= 0.01 for delay in drawn)


def test_attempts_and_the_first_pause_may_be_given_by_position() -> None:
    retry = RetryConfig(3, 0.1)

    assert (retry.max_attempts, retry.base_delay) == (3, 0.1)


def test_there_may_be_no_pause() -> None:
    assert RetryConfig(base_delay=0, max_delay=0).delay(3) == 0


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", -1),
        ("max_attempts", 1.5),
        ("max_attempts", True),
        ("base_delay", -0.1),
        ("base_delay", math.nan),
        ("base_delay", "1"),
        ("max_delay", math.inf),
        ("max_delay", 0.005),
        ("max_seconds", -1),
        ("max_seconds", math.inf),
        ("max_seconds", None),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=argument) as caught:
        RetryConfig(**{argument: value})

    assert caught.value.argument == argument


def test_errors_survive_pickling() -> None:
    conflict = OptimisticConcurrencyError("account-1", 3, 5)
    copy = pickle.loads(pickle.dumps(conflict))

    assert (str(copy), copy.actual_version) == (str(conflict), 5)


def test_ids_can_be_taken_from_elsewhere() -> None:
    next_id = sequential_ids(7)

    assert NewEvent(Audited(), event_id=next_id()).metadata.event_id.int & 0xFF == 7

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.streaming.trend_score import decayed_watches, log2_of_sum, with_watch

NOW = datetime(2026, 11, 22, tzinfo=UTC)

times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis asks for naive bounds
completions = st.integers(1, 1000).map(lambda tenths: tenths / 10)
Watch = tuple[float, datetime]


def score_of(watches: Iterable[Watch]) -> float | None:
    score = None
    for completion, at in watches:
        score = with_watch(score, completion, at)
    return score


def relative_difference(a: float, b: float) -> float:
    """Of the sums that the scores are logarithms of."""
    return abs(math.expm1((a - b) * math.log(2)))


def test_a_watch_counts_less_by_half_after_a_week() -> None:
    score = with_watch(None, 80, NOW)

    assert score is not None
    assert decayed_watches(score, NOW) == pytest.approx(0.8)
    assert decayed_watches(score, NOW + timedelta(days=7)) == pytest.approx(0.4)
    assert decayed_watches(score, NOW + timedelta(days=14)) == pytest.approx(0.2)


def test_watches_add_up() -> None:
    score = score_of([(100, NOW), (50, NOW), (100, NOW - timedelta(days=7))])

    assert score is not None
    assert decayed_watches(score, NOW) == pytest.approx(2.0)


def test_a_watch_of_nothing_counts_nothing() -> None:
    assert with_watch(None, 0, NOW) is None
    assert with_watch(2900.5, 0, NOW) == 2900.5


def test_the_plain_sum_would_overflow() -> None:
    with pytest.raises(OverflowError):
        math.exp2(NOW.timestamp() / 86_400 / 7)
    assert score_of([(100, NOW)] * 1000) == pytest.approx(NOW.timestamp() / 86_400 / 7 + math.log2(1000))


@given(st.lists(st.tuples(completions, times), min_size=1, max_size=60), st.randoms())
def test_the_order_of_watches_does_not_matter(watches: list[Watch], random: Random) -> None:
    shuffled = list(watches)
    random.shuffle(shuffled)

    there, back = score_of(watches), score_of(shuffled)

    assert there is not None
    assert back is not None
    assert relative_difference(there, back) <= 1e-9


@given(st.lists(st.tuples(completions, times), min_size=1, max_size=60))
def test_it_is_the_logarithm_of_the_plain_sum(watches: list[Watch]) -> None:
    last = max(at for _, at in watches)
    weeks = [(at - last) / timedelta(days=7) for _, at in watches]
    plain = math.fsum(completion / 100 * 2.0**week for (completion, _), week in zip(watches, weeks, strict=True))

    score = score_of(watches)

    assert score is not None
    assert relative_difference(score, math.log2(plain) + last.timestamp() / 86_400 / 7) <= 1e-9


@given(st.floats(-3000, 5000), st.floats(-3000, 5000))
def test_a_sum_is_never_less_than_its_parts(a: float, b: float) -> None:
    assert max(a, b) <= log2_of_sum(a, b) <= max(a, b) + 1
    assert log2_of_sum(a, b) == log2_of_sum(b, a)

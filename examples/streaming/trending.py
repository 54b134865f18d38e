"""The trending score: a count of watches that halves every seven days, kept as a logarithm.

A watch that was completed to the fraction f at time t, in days since 1970, counts f · 2^(t/7). So newer watches weigh
more, instead of older ones being weighed down over and over: the row of a title that nobody watches is never touched,
and any two scores can be compared at any time. The sum itself has overflowed a float since 1989, hence log2 of it.

What the score means for a person is `decayed_watches`: each watch counts f at first, f/2 a week later, f/4 after two.
"""

import math
from datetime import datetime

HALF_LIFE_DAYS = 7.0

_SECONDS_PER_HALF_LIFE = HALF_LIFE_DAYS * 86_400


def half_lives(at: datetime) -> float:
    """The time since 1970, in half-lives."""
    return at.timestamp() / _SECONDS_PER_HALF_LIFE


def with_watch(score: float | None, completion_percentage: float, at: datetime) -> float | None:
    """The score once this watch is counted. There is none, as log2 of 0, until somebody has watched at least a bit."""
    if completion_percentage <= 0:
        return score
    watch = math.log2(completion_percentage / 100) + half_lives(at)
    return watch if score is None else log2_of_sum(score, watch)


def log2_of_sum(a: float, b: float) -> float:
    """log2(2^a + 2^b), where 2^a or 2^b may be too large for a float."""
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log1p(math.exp2(low - high)) / math.log(2)


def decayed_watches(score: float, at: datetime) -> float:
    """How many watches the score is worth at that time."""
    return math.exp2(score - half_lives(at))

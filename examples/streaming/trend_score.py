"""The trending score: a count of watches that halves every seven days, kept as a logarithm.

A watch that was completed to the fraction f at time t, in days since 1970, adds f · 2^(t/7) to the score. So newer
watches get more weight, and older ones needn't be reduced again and again. The row of a title without new watches never
changes, and scores can be compared at any time. The sum would overflow a float since 1989, so the score is its log2.

`decayed_watches` converts a score to watches: each watch counts f at first, f/2 a week later, f/4 after two weeks.
"""

import math
from datetime import datetime

HALF_LIFE_DAYS = 7.0

_SECONDS_PER_HALF_LIFE = HALF_LIFE_DAYS * 86_400


def half_lives(at: datetime) -> float:
    """Return the time since 1970 in half-lives."""
    return at.timestamp() / _SECONDS_PER_HALF_LIFE


def with_watch(score: float | None, completion_percentage: float, at: datetime) -> float | None:
    """Return the score with one more watch. It is None before the first watch above 0 percent."""
    if completion_percentage <= 0:
        return score
    watch = math.log2(completion_percentage / 100) + half_lives(at)
    return watch if score is None else log2_of_sum(score, watch)


def log2_of_sum(a: float, b: float) -> float:
    """Return log2(2^a + 2^b), where 2^a or 2^b may be too large for a float."""
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log1p(math.exp2(low - high)) / math.log(2)


def decayed_watches(score: float, at: datetime) -> float:
    """Return the number of watches that a score is worth at a time."""
    return math.exp2(score - half_lives(at))

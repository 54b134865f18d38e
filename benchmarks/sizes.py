"""How much of everything a run does."""

from typing import NamedTuple


class Sizes(NamedTuple):
    repeats: int = 5
    """How often each system does each thing that counts. Once before, which doesn't."""
    seconds: float = 1.5
    """How long each append run and each load run takes."""
    callers: tuple[int, ...] = (1, 16, 64, 256)
    """How many append at once."""
    log: int = 200_000
    """How many events there are to catch up on, and to be projected."""
    keys: int = 10_000
    """How many rows they make."""
    streams: tuple[int, ...] = (100, 1_000, 10_000)
    """The lengths of the aggregates that are loaded."""
    paced: int = 200
    """How many events are appended at a steady pace, to see how soon they are handled."""
    pace: float = 50.0
    """How many of them in a second."""
    commands: int = 20
    """How many commands each task runs on one aggregate."""
    entries: int = 10_000
    """How many entries a large state has."""
    growth: tuple[int, ...] = (10_000, 1_000_000, 5_000_000)
    """How many events a store holds, to see that it doesn't become slower."""
    scale: int = 1_000_000
    """How many events a projection takes, to see how it spreads."""
    scale_keys: int = 100_000
    """How many rows they make."""


FULL = Sizes()
QUICK = Sizes(
    repeats=2,
    seconds=0.5,
    log=20_000,
    keys=2_000,
    streams=(100, 1_000),
    paced=50,
    commands=5,
    entries=2_000,
    growth=(1_000, 100_000),
    scale=50_000,
    scale_keys=5_000,
)
"""Enough to see that it works; the figures mean little."""

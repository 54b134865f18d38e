"""Compares the rows of the read models with the expected rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.streaming.demo.recomputation import Row, expected_profiles, expected_titles
from examples.streaming.demo.source import Source

TOLERANCE = 1e-9
MEANS = {"average_completion_rate", "rating_average"}


@dataclass(frozen=True)
class Difference:
    key: str
    column: str
    """Empty if the row is missing, or isn't expected."""
    found: object
    expected: object

    def __str__(self) -> str:
        place = f"{self.key}.{self.column}" if self.column else f"row {self.key}"
        return f"{place} is {self.found!r}, not {self.expected!r}"


@dataclass(frozen=True)
class Check:
    table: str
    rows: int
    differences: list[Difference]

    @property
    def passed(self) -> bool:
        return not self.differences


def verify(source: Source, titles: Sequence[Row], profiles: Sequence[Row]) -> list[Check]:
    """Check every row of both read models."""
    return [
        _check("content_popularity", "content_id", titles, expected_titles(source)),
        _check("user_profiles", "user_id", profiles, expected_profiles(source)),
    ]


def _check(table: str, key: str, rows: Sequence[Row], expected: Mapping[str, Row]) -> Check:
    found = {row[key]: row for row in rows}
    differences = [
        difference
        for name in sorted(found.keys() | expected.keys())
        for difference in _differences(name, found.get(name), expected.get(name))
    ]
    return Check(table, len(rows), differences)


def _differences(key: str, found: Row | None, expected: Row | None) -> Iterator[Difference]:
    if found is None or expected is None:
        yield Difference(key, "", found, expected)
        return
    for column, value in expected.items():
        if not _same(column, found[column], value):
            yield Difference(key, column, found[column], value)


def _same(column: str, found: Any, expected: Any) -> bool:
    if found is None or expected is None:
        return found is expected
    if column == "trending_score":
        # Relative to the number of watches, which is far stricter than relative to its logarithm, the score.
        return abs(math.expm1((found - expected) * math.log(2))) <= TOLERANCE
    if column in MEANS:
        return math.isclose(found, expected, rel_tol=0, abs_tol=TOLERANCE)
    return bool(found == expected)

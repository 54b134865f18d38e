from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from examples.streaming.demo.recomputation import Row, expected_profiles, expected_titles
from examples.streaming.demo.verification import Check, verify
from tests.examples.streaming.sources import SMALL


@pytest.fixture
def titles() -> list[Row]:
    return list(deepcopy(expected_titles(SMALL)).values())


@pytest.fixture
def profiles() -> list[Row]:
    return list(deepcopy(expected_profiles(SMALL)).values())


def failed(checks: list[Check]) -> list[str]:
    return [f"{check.table}: {difference}" for check in checks for difference in check.differences]


def test_rows_that_are_right_pass(titles: list[Row], profiles: list[Row]) -> None:
    checks = verify(SMALL, titles, profiles)

    assert [(check.table, check.rows, check.passed) for check in checks] == [
        ("content_popularity", 4, True),
        ("user_profiles", 2, True),
    ]


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("title", "Toy Story"),
        ("genre", None),
        ("total_views", 2),
        ("total_watch_time", 16_801),
        ("average_completion_rate", 93.33333333),
        ("unique_viewers", 3),
        ("rating_average", 4.500000002),
        ("rating_count", 3),
        ("trending_score", None),
        ("last_updated", None),
    ],
)
def test_a_wrong_value_of_a_title_is_found(titles: list[Row], profiles: list[Row], column: str, change: object) -> None:
    titles[0][column] = change

    assert failed(verify(SMALL, titles, profiles))[0].startswith(f"content_popularity: 1.{column} is {change!r}, not ")


@pytest.mark.parametrize("column", list(expected_profiles(SMALL)["15"])[1:])
def test_a_wrong_value_of_a_profile_is_found(titles: list[Row], profiles: list[Row], column: str) -> None:
    profiles[1][column] = changed(profiles[1][column])

    (difference,) = failed(verify(SMALL, titles, profiles))
    assert f"15.{column} is " in difference


def changed(value: Any) -> Any:
    if isinstance(value, list):
        return [*value, "Opera"]
    return value + timedelta(microseconds=1) if hasattr(value, "tzinfo") else not value


def test_a_missing_row_is_found(titles: list[Row], profiles: list[Row]) -> None:
    del profiles[0]

    assert "user_profiles: row 1 is None, not " in failed(verify(SMALL, titles, profiles))[0]


def test_a_row_too_many_is_found(titles: list[Row], profiles: list[Row]) -> None:
    profiles.append({**profiles[0], "user_id": "7"})

    assert failed(verify(SMALL, titles, profiles))[0].endswith(", not None")


@pytest.mark.parametrize(("off_by", "passes"), [(1e-10, True), (1e-8, False)])
def test_trending_is_compared_by_the_sum_behind_the_logarithm(
    titles: list[Row], profiles: list[Row], off_by: float, passes: bool
) -> None:
    titles[0]["trending_score"] += off_by

    assert (failed(verify(SMALL, titles, profiles)) == []) is passes

"""What checks the demo is checked itself: by figures that were worked out by hand."""

import math
from datetime import UTC, datetime

import pytest

from examples.streaming.demo.recomputation import expected_profiles, expected_titles
from examples.streaming.demo.source import Rating, Source
from tests.examples.streaming.sources import SMALL


def day(number: int, seconds: int = 0) -> datetime:
    return datetime.fromtimestamp(number * 86_400 + seconds, UTC)


def test_a_title() -> None:
    assert expected_titles(SMALL)["1"] == {
        "content_id": "1",
        "title": "Toy Story (1995)",
        "genre": "Adventure",
        "total_views": 3,
        "total_watch_time": 6000 + 4800 + 6000,
        "average_completion_rate": pytest.approx((100 + 80 + 100) / 3, abs=1e-12),
        "unique_viewers": 2,
        "rating_average": 4.5,
        "rating_count": 2,
        "trending_score": pytest.approx(math.log2(2**1 + 2**2 + 0.8 * 2 ** (2 + 60 / 86_400 / 7)), abs=1e-12),
        "last_updated": day(14, 60),
    }


def test_a_title_without_genres() -> None:
    assert expected_titles(SMALL)["3"]["genre"] == "unknown"


def test_a_title_that_nobody_watched() -> None:
    assert expected_titles(SMALL)["4"] == {
        "content_id": "4",
        "title": "Never Watched",
        "genre": "War",
        "total_views": 0,
        "total_watch_time": 0,
        "average_completion_rate": None,
        "unique_viewers": 0,
        "rating_average": None,
        "rating_count": 0,
        "trending_score": None,
        "last_updated": day(3, -1),
    }


def test_a_title_that_nobody_added() -> None:
    row = expected_titles(Source("", {}, [Rating(1, 9, 3.0, 50)], []))["9"]

    assert (row["title"], row["genre"], row["total_views"]) == (None, None, 1)


def test_a_user() -> None:
    assert expected_profiles(SMALL)["1"] == {
        "user_id": "1",
        "email": "viewer1@example.com",
        "name": "Viewer 1",
        "subscription_plan": "free",
        "preferences": ["Adventure", "unknown"],
        "total_watch_time": 6000 + 3000 + 6000,
        "favorite_genres": ["Adventure", "unknown"],
        "last_active": day(14),
        "registration_date": day(7, -1),
        "is_premium": False,
    }


def test_a_user_of_two_minds() -> None:
    row = expected_profiles(SMALL)["15"]

    assert (row["subscription_plan"], row["is_premium"]) == ("basic", True)
    assert row["preferences"] == ["Adventure", "Crime"]


@pytest.mark.parametrize(("user_id", "plan"), [(1, "free"), (3, "premium"), (5, "basic"), (15, "basic")])
def test_the_plan_follows_from_the_id(user_id: int, plan: str) -> None:
    row = expected_profiles(Source("", {}, [Rating(user_id, 1, 3.0, 50)], []))[str(user_id)]

    assert (row["subscription_plan"], row["is_premium"]) == (plan, plan != "free")


def test_who_only_left_tags_has_no_profile() -> None:
    assert set(expected_profiles(SMALL)) == {"1", "15"}

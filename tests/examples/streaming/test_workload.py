from datetime import UTC, datetime

import pytest

from examples.streaming.demo.generated import generate
from examples.streaming.demo.source import Rating, Source, Tag, Title
from examples.streaming.demo.workload import Watch, plan

TITLES = {
    1: Title(1, "Toy Story", ("Adventure", "Comedy")),
    2: Title(2, "Heat", ("Action",)),
    3: Title(3, "Untold", ()),
    4: Title(4, "Casino", ("Crime",)),
    5: Title(5, "Sabrina", ("Comedy",)),
    6: Title(6, "Alien", ("Horror",)),
    7: Title(7, "Speed", ("Action",)),
}


def source_of(ratings: list[Rating], tags: list[Tag] | None = None) -> Source:
    return Source("a test", TITLES, ratings, tags or [])


def preferences_of(*ratings: tuple[int, int]) -> list[str]:
    workload = plan(source_of([Rating(1, movie_id, 3.0, seconds) for movie_id, seconds in ratings]))
    return workload.viewers[1].preferences


def test_preferences_are_the_distinct_first_genres() -> None:
    assert preferences_of((1, 10), (2, 11), (7, 12)) == ["Adventure", "Action"]


def test_preferences_come_from_the_five_earliest_ratings() -> None:
    assert preferences_of((6, 99), (5, 5), (4, 4), (3, 3), (2, 2), (1, 1)) == [
        "Adventure",
        "Action",
        "unknown",
        "Crime",
        "Comedy",
    ]


def test_of_ratings_at_the_same_time_the_smaller_movie_id_comes_first() -> None:
    assert preferences_of((6, 1), (5, 1), (4, 1), (2, 1), (1, 1), (7, 1)) == [
        "Adventure",
        "Action",
        "Crime",
        "Comedy",
        "Horror",
    ]


def test_a_user_joins_just_before_the_first_rating_or_tag() -> None:
    viewers = plan(source_of([Rating(1, 1, 3.0, 100), Rating(2, 1, 3.0, 100)], [Tag(1, 2, 50)])).viewers

    assert viewers[1].joined_at == datetime(1970, 1, 1, 0, 0, 49, tzinfo=UTC)
    assert viewers[2].joined_at == datetime(1970, 1, 1, 0, 1, 39, tzinfo=UTC)


def test_who_only_left_tags_never_joins() -> None:
    workload = plan(source_of([Rating(1, 1, 3.0, 100)], [Tag(2, 2, 50)]))

    assert set(workload.viewers) == {1}
    assert len(workload.watches) == 2


def test_watches_are_in_the_order_of_time() -> None:
    workload = plan(source_of([Rating(2, 1, 0.5, 100), Rating(1, 2, 4.5, 70)], [Tag(1, 2, 80)]))

    assert workload.watches == [Watch(70, 1, 2, 4.5), Watch(80, 1, 2, None), Watch(100, 2, 1, 0.5)]


@pytest.mark.parametrize(
    ("stars", "completion", "duration"), [(0.5, 10, 600), (3.5, 70, 4200), (5, 100, 6000), (None, 100, 6000)]
)
def test_how_much_was_watched_follows_from_the_stars(stars: float | None, completion: float, duration: int) -> None:
    watch = Watch(0, 1, 1, stars)

    assert watch.completion_percentage == completion
    assert watch.duration_seconds == duration


def test_the_service_opens_just_before_the_first_watch() -> None:
    assert plan(source_of([Rating(1, 1, 3.0, 100)], [Tag(1, 2, 50)])).opening == datetime(
        1970, 1, 1, 0, 0, 49, tzinfo=UTC
    )


def test_events_are_counted_beforehand() -> None:
    workload = plan(source_of([Rating(user_id, 1, 3.0, 100) for user_id in (1, 3, 5, 15)], [Tag(1, 2, 50)]))

    assert workload.events == len(TITLES) + (1 + 2 + 3 + 4) + 2 * 4 + 1


def test_the_same_seed_makes_up_the_same() -> None:
    assert generate(7) == generate(7)
    assert generate(7) != generate(8)


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_about_twenty_thousand_events_are_made_up(seed: int) -> None:
    source = generate(seed)

    assert 19_000 <= plan(source).events <= 21_000
    assert len({(rating.user_id, rating.movie_id) for rating in source.ratings}) == len(source.ratings)
    assert any(not title.genres for title in source.titles.values())

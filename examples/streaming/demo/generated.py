"""Generates half a year of a small service. The same seed gives exactly the same source."""

from datetime import UTC, datetime
from random import Random

from examples.streaming.demo.source import Rating, Source, Tag, Title

TITLES = 400
USERS = 120
RATINGS_PER_USER = 79
TAGS = 400

_BEGIN = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
_HALF_A_YEAR = 182 * 86_400

_GENRES = ("Drama", "Comedy", "Thriller", "Action", "Romance", "Sci-Fi", "Documentary", "Horror", "Animation", "War")
_FIRST = ("Silent", "Golden", "Last", "Broken", "Distant", "Électrique", "Burning", "Hidden", "Northern", "Paper")
_SECOND = ("Harbour", "Letter", "Witness", "Winter", "Garden", "Señora", "Station", "Mirror", "Orchard", "Tide")


def generate(seed: int) -> Source:
    """Return a source of about 20,000 events. As in reality, few titles have most of the views."""
    random = Random(seed)
    titles = {movie_id: _title(random, movie_id) for movie_id in range(1, TITLES + 1)}
    weights = [1 / rank for rank in range(5, TITLES + 5)]
    movies = random.sample(sorted(titles), TITLES)
    ratings = [
        Rating(user_id, movie_id, random.choice((0.5, 1, 2, 2.5, 3, 3, 3.5, 4, 4, 4, 4.5, 5)), _seconds(random))
        for user_id in range(1, USERS + 1)
        for movie_id in _distinct(random, movies, weights, RATINGS_PER_USER)
    ]
    tags = [
        Tag(random.randint(1, USERS), movie_id, _seconds(random))
        for movie_id in random.choices(movies, weights, k=TAGS)
    ]
    return Source(f"made up from seed {seed}", titles, ratings, tags)


def _title(random: Random, movie_id: int) -> Title:
    name = f"The {random.choice(_FIRST)} {random.choice(_SECOND)} ({random.randint(1950, 2025)})"
    return Title(movie_id, name, tuple(random.sample(_GENRES, k=random.choice((0, 1, 1, 2, 2, 2, 3)))))


def _distinct(random: Random, movies: list[int], weights: list[float], count: int) -> list[int]:
    # Weighted sampling without repeats: take the items with the largest weight-th root of a random number.
    keys = {movie_id: random.random() ** (1 / weight) for movie_id, weight in zip(movies, weights, strict=True)}
    return sorted(movies, key=keys.__getitem__, reverse=True)[:count]


def _seconds(random: Random) -> int:
    return _BEGIN + random.randrange(_HALF_A_YEAR)

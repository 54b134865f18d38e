"""The expected rows of both read models at the end, computed from the source alone.

It shares no code with the application or the workload, and computes each row from all its data at once, whereas a
projection folds one event after the other.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from examples.streaming.demo.source import Rating, Source

Row = dict[str, Any]

_WEEK = 7 * 86_400


class _View(NamedTuple):
    seconds: int
    user_id: int
    movie_id: int
    duration: int
    completion: float


def expected_titles(source: Source) -> dict[str, Row]:
    """Return the rows of content_popularity by content_id."""
    views: dict[int, list[_View]] = defaultdict(list)
    for view in _views(source):
        views[view.movie_id].append(view)
    ratings: dict[int, list[float]] = defaultdict(list)
    for rating in source.ratings:
        ratings[rating.movie_id].append(rating.stars)
    opening = min((view.seconds for of_title in views.values() for view in of_title), default=1) - 1
    movie_ids = source.titles.keys() | views.keys()
    return {str(one): _title_row(source, one, views[one], ratings[one], opening) for one in movie_ids}


def expected_profiles(source: Source) -> dict[str, Row]:
    """Return the rows of user_profiles by user_id."""
    views: dict[int, list[_View]] = defaultdict(list)
    for view in _views(source):
        views[view.user_id].append(view)
    ratings: dict[int, list[Rating]] = defaultdict(list)
    for rating in source.ratings:
        ratings[rating.user_id].append(rating)
    return {str(one): _profile_row(source, one, views[one], ratings[one]) for one in ratings}


def _views(source: Source) -> list[_View]:
    rated = [_View(r.seconds, r.user_id, r.movie_id, int(r.stars * 1200), r.stars * 20) for r in source.ratings]
    tagged = [_View(t.seconds, t.user_id, t.movie_id, 6000, 100.0) for t in source.tags]
    return rated + tagged


def _title_row(source: Source, movie_id: int, views: Sequence[_View], stars: Sequence[float], opening: int) -> Row:
    known = source.titles.get(movie_id)
    return {
        "content_id": str(movie_id),
        "title": known.name if known else None,
        "genre": _genre(source, movie_id) if known else None,
        "total_views": len(views),
        "total_watch_time": sum(view.duration for view in views),
        "average_completion_rate": _mean([view.completion for view in views]),
        "unique_viewers": len({view.user_id for view in views}),
        "rating_average": _mean(stars),
        "rating_count": len(stars),
        "trending_score": _trending(views),
        "last_updated": _time(max((view.seconds for view in views), default=opening)),
    }


def _profile_row(source: Source, user_id: int, views: Sequence[_View], ratings: list[Rating]) -> Row:
    earliest = sorted((rating.seconds, rating.movie_id) for rating in ratings)[:5]
    preferences: list[str] = []
    for _, movie_id in earliest:
        if (genre := _genre(source, movie_id)) not in preferences:
            preferences.append(genre)
    plan = "basic" if user_id % 5 == 0 else "premium" if user_id % 3 == 0 else "free"
    return {
        "user_id": str(user_id),
        "email": f"viewer{user_id}@example.com",
        "name": f"Viewer {user_id}",
        "subscription_plan": plan,
        "preferences": list(reversed(preferences)) if user_id % 5 == 0 else preferences,
        "total_watch_time": sum(view.duration for view in views),
        "favorite_genres": sorted({*preferences, *(_genre(source, view.movie_id) for view in views)}),
        "last_active": _time(max(view.seconds for view in views)),
        "registration_date": _time(min(view.seconds for view in views) - 1),
        "is_premium": plan != "free",
    }


def _genre(source: Source, movie_id: int) -> str:
    known = source.titles.get(movie_id)
    return next(iter(known.genres), "unknown") if known else "unknown"


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


def _trending(views: Sequence[_View]) -> float | None:
    """Compute relative to the last view, so that all exponents are negative and the sum fits a float."""
    completed = [view for view in views if view.completion > 0]
    if not completed:
        return None
    last = max(view.seconds for view in completed)
    total = math.fsum(view.completion / 100 * 2.0 ** ((view.seconds - last) / _WEEK) for view in completed)
    return math.log2(total) + last / _WEEK


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

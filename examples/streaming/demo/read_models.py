"""Reads the read models by SELECT on their views."""

from examples.streaming.demo.recomputation import Row
from perdure import PostgreSQLEventStore

TITLES = """
select content_id, title, genre, total_views, total_watch_time, average_completion_rate, unique_viewers,
       rating_average, rating_count, trending_score, last_updated
from content_popularity
order by content_id
"""
PROFILES = """
select user_id, email, name, subscription_plan, preferences, total_watch_time, favorite_genres, last_active,
       registration_date, is_premium
from user_profiles
order by user_id
"""


async def read_titles(store: PostgreSQLEventStore) -> list[Row]:
    return [dict(row) for row in await store.database.fetch(TITLES)]


async def read_profiles(store: PostgreSQLEventStore) -> list[Row]:
    return [dict(row) for row in await store.database.fetch(PROFILES)]

"""The read model `user_profiles`: the account page of each user, with totals of watched content."""

from datetime import datetime

import msgspec

from examples.streaming.events import (
    ContentRated,
    ContentWatched,
    UserDeactivated,
    UserPreferencesUpdated,
    UserRegistered,
    UserSubscribed,
)
from perdure import StoredEvent, TableProjection, handles

FREE_PLAN = "free"


class UserRow(msgspec.Struct, kw_only=True):
    user_id: str
    email: str
    name: str
    subscription_plan: str = FREE_PLAN
    preferences: list[str]
    total_watch_time: int = 0
    """In seconds."""
    favorite_genres: list[str]
    """Distinct, sorted: the first preferences, and every genre watched since."""
    last_active: datetime
    registration_date: datetime
    is_premium: bool = False


class UserProfiles(TableProjection[UserRow], table="user_profiles", key="user_id", version=1):
    """A row starts with the registration. Events of users that never registered are ignored."""

    @handles
    def registered(self, event: UserRegistered, row: UserRow | None, at: StoredEvent) -> UserRow:
        return row or UserRow(
            user_id=event.user_id,
            email=event.email,
            name=event.name,
            preferences=event.initial_preferences,
            favorite_genres=sorted(set(event.initial_preferences)),
            last_active=at.timestamp,
            registration_date=event.registration_timestamp,
        )

    @handles
    def subscribed(self, event: UserSubscribed, row: UserRow | None, at: StoredEvent) -> UserRow | None:
        if row is not None:
            row.subscription_plan = event.plan
            row.is_premium = event.plan != FREE_PLAN
        return _seen(row, at)

    @handles
    def preferences_updated(
        self, event: UserPreferencesUpdated, row: UserRow | None, at: StoredEvent
    ) -> UserRow | None:
        if row is not None:
            row.preferences = event.new_preferences
        return _seen(row, at)

    @handles
    def watched(self, event: ContentWatched, row: UserRow | None, at: StoredEvent) -> UserRow | None:
        if row is not None:
            row.total_watch_time += event.watch_duration_seconds
            genre = event.genre or "unknown"
            if genre not in row.favorite_genres:
                row.favorite_genres = sorted([*row.favorite_genres, genre])
        return _seen(row, at)

    @handles
    def active(
        self,
        event: ContentRated | UserDeactivated,  # noqa: ARG002 - only its existence counts
        row: UserRow | None,
        at: StoredEvent,
    ) -> UserRow | None:
        return _seen(row, at)


def _seen(row: UserRow | None, at: StoredEvent) -> UserRow | None:
    # The latest by time, not by arrival, because streams of different titles have no common order.
    if row is not None:
        row.last_active = max(row.last_active, at.timestamp)
    return row

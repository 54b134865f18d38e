"""The events. Their names are stored, so the classes can be renamed."""

from datetime import datetime

from perdure import event


@event("user.registered")
class UserRegistered:
    user_id: str
    email: str
    name: str
    initial_preferences: list[str]
    registration_timestamp: datetime


@event("user.subscribed")
class UserSubscribed:
    user_id: str
    plan: str
    payment_method: str
    subscription_timestamp: datetime


@event("user.preferences_updated")
class UserPreferencesUpdated:
    user_id: str
    old_preferences: list[str]
    new_preferences: list[str]
    update_timestamp: datetime


@event("user.deactivated")
class UserDeactivated:
    user_id: str
    reason: str
    deactivation_timestamp: datetime


# Facts from other services. There are no rules for them, so they have no aggregate: they are appended directly to the
# streams "content-<id>".


@event("content.added")
class ContentAdded:
    content_id: str
    title: str
    genres: list[str]


@event("content.watched")
class ContentWatched:
    content_id: str
    user_id: str
    watch_duration_seconds: int
    completion_percentage: float
    genre: str | None = None


@event("content.rated")
class ContentRated:
    content_id: str
    user_id: str
    rating: float

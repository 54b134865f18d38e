from datetime import UTC, datetime, timedelta

from examples.streaming.events import (
    ContentRated,
    ContentWatched,
    UserDeactivated,
    UserPreferencesUpdated,
    UserRegistered,
    UserSubscribed,
)
from examples.streaming.profiles import UserProfiles, UserRow
from perdure import NewEvent
from perdure.testing.projections import fold

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = AT + timedelta(hours=1)

REGISTERED = NewEvent(
    UserRegistered(
        user_id="123",
        email="john@example.com",
        name="John Doe",
        initial_preferences=["Drama", "Action", "Drama"],
        registration_timestamp=AT,
    ),
    timestamp=AT,
)


def watched(genre: str | None, *, user_id: str = "123", at: datetime = AT) -> NewEvent:
    event = ContentWatched(
        content_id="9", user_id=user_id, watch_duration_seconds=600, completion_percentage=10, genre=genre
    )
    return NewEvent(event, timestamp=at)


def subscribed(plan: str) -> NewEvent:
    event = UserSubscribed(user_id="123", plan=plan, payment_method="invoice", subscription_timestamp=AT)
    return NewEvent(event, timestamp=AT)


def profile(*events: NewEvent) -> UserRow:
    return fold(UserProfiles(), [REGISTERED, *events])["123"]


def test_a_profile_begins_with_the_registration() -> None:
    assert profile() == UserRow(
        user_id="123",
        email="john@example.com",
        name="John Doe",
        subscription_plan="free",
        preferences=["Drama", "Action", "Drama"],
        total_watch_time=0,
        favorite_genres=["Action", "Drama"],
        last_active=AT,
        registration_date=AT,
        is_premium=False,
    )


def test_a_plan_that_is_not_free_is_premium() -> None:
    assert (profile(subscribed("basic")).subscription_plan, profile(subscribed("basic")).is_premium) == ("basic", True)
    assert profile(subscribed("basic"), subscribed("free")).is_premium is False


def test_watches_add_time_and_genres() -> None:
    row = profile(watched("War"), watched("Drama"), watched(None), watched("War"))

    assert row.total_watch_time == 2400
    assert row.favorite_genres == ["Action", "Drama", "War", "unknown"]


def test_new_preferences_leave_the_favorite_genres_alone() -> None:
    event = UserPreferencesUpdated(
        user_id="123", old_preferences=["Drama"], new_preferences=["Horror"], update_timestamp=AT
    )
    row = profile(NewEvent(event, timestamp=AT))

    assert row.preferences == ["Horror"]
    assert row.favorite_genres == ["Action", "Drama"]


def test_whatever_a_user_does_is_activity() -> None:
    rated = ContentRated(content_id="9", user_id="123", rating=3.0)
    left = UserDeactivated(user_id="123", reason="moved away", deactivation_timestamp=LATER)

    assert profile(NewEvent(rated, timestamp=LATER)).last_active == LATER
    assert profile(NewEvent(left, timestamp=LATER)).last_active == LATER
    assert profile(watched("War", at=LATER)).last_active == LATER


def test_the_latest_activity_counts_not_the_last_to_arrive() -> None:
    assert profile(watched("War", at=LATER), watched("War", at=AT)).last_active == LATER


def test_who_never_registered_is_ignored() -> None:
    assert set(fold(UserProfiles(), [REGISTERED, watched("War", user_id="7")])) == {"123"}

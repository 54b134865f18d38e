"""The account of a user, and its business rules."""

from datetime import UTC, datetime

from examples.streaming.events import UserDeactivated, UserPreferencesUpdated, UserRegistered, UserSubscribed
from perdure import AggregateRoot, DomainError, command, field, handles


class AlreadyRegisteredError(DomainError):
    """A user registers once."""


class NotRegisteredError(DomainError):
    """Only a registered user can do this."""


class InactiveUserError(DomainError):
    """A deactivated user can't do this."""


class User(AggregateRoot, category="user"):
    """A user of the service. The argument `at` of each command is the time of its events. Default: now."""

    email: str | None = None
    name: str | None = None
    subscription_plan: str = "free"
    preferences: list[str] = field(default_factory=list)
    is_active: bool = False

    @command
    def register(self, email: str, name: str, initial_preferences: list[str], at: datetime | None = None) -> None:
        if self.email is not None:
            raise AlreadyRegisteredError(f"user {self.aggregate_id} is already registered")
        at = at or datetime.now(UTC)
        registered = UserRegistered(
            user_id=self.aggregate_id,
            email=email,
            name=name,
            initial_preferences=initial_preferences,
            registration_timestamp=at,
        )
        self.raise_event(registered, timestamp=at)

    @command
    def subscribe_to_plan(self, plan: str, payment_method: str, at: datetime | None = None) -> None:
        self._check_active()
        at = at or datetime.now(UTC)
        subscribed = UserSubscribed(
            user_id=self.aggregate_id, plan=plan, payment_method=payment_method, subscription_timestamp=at
        )
        self.raise_event(subscribed, timestamp=at)

    @command
    def update_preferences(self, new_preferences: list[str], at: datetime | None = None) -> None:
        self._check_active()
        at = at or datetime.now(UTC)
        updated = UserPreferencesUpdated(
            user_id=self.aggregate_id,
            old_preferences=self.preferences,
            new_preferences=new_preferences,
            update_timestamp=at,
        )
        self.raise_event(updated, timestamp=at)

    @command
    def deactivate(self, reason: str, at: datetime | None = None) -> None:
        self._check_active()
        at = at or datetime.now(UTC)
        deactivated = UserDeactivated(user_id=self.aggregate_id, reason=reason, deactivation_timestamp=at)
        self.raise_event(deactivated, timestamp=at)

    def _check_active(self) -> None:
        if self.email is None:
            raise NotRegisteredError(f"user {self.aggregate_id} is not registered")
        if not self.is_active:
            raise InactiveUserError(f"user {self.aggregate_id} is deactivated")

    @handles
    def _registered(self, event: UserRegistered) -> None:
        self.email = event.email
        self.name = event.name
        self.preferences = event.initial_preferences
        self.is_active = True

    @handles
    def _subscribed(self, event: UserSubscribed) -> None:
        self.subscription_plan = event.plan

    @handles
    def _preferences_updated(self, event: UserPreferencesUpdated) -> None:
        self.preferences = event.new_preferences

    @handles
    def _deactivated(self, event: UserDeactivated) -> None:  # noqa: ARG002 - only its existence counts
        self.is_active = False

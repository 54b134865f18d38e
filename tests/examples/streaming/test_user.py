from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from examples.streaming.events import UserDeactivated, UserPreferencesUpdated, UserRegistered, UserSubscribed
from examples.streaming.user import AlreadyRegisteredError, InactiveUserError, NotRegisteredError, User
from perdure import InMemoryEventStore, PerdureError, Repository
from perdure.testing import given

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 3, 2, tzinfo=UTC)

REGISTERED = UserRegistered(
    user_id="123",
    email="john@example.com",
    name="John Doe",
    initial_preferences=["Drama"],
    registration_timestamp=AT,
)
DEACTIVATED = UserDeactivated(user_id="123", reason="moved away", deactivation_timestamp=AT)

COMMANDS: list[Callable[[User], None]] = [
    lambda user: user.subscribe_to_plan("premium", "credit_card", at=LATER),
    lambda user: user.update_preferences(["Comedy"], at=LATER),
    lambda user: user.deactivate("moved away", at=LATER),
]


def register(user: User) -> None:
    user.register("john@example.com", "John Doe", ["Drama"], at=AT)


def test_a_user_registers() -> None:
    given(User("123")).when(register).then(REGISTERED).then_state(
        email="john@example.com",
        name="John Doe",
        preferences=["Drama"],
        subscription_plan="free",
        is_active=True,
    )


def test_a_user_registers_once() -> None:
    given(User("123"), REGISTERED).when(register).then_raises(AlreadyRegisteredError, "user 123")


def test_a_deactivated_user_does_not_register_again() -> None:
    given(User("123"), REGISTERED, DEACTIVATED).when(register).then_raises(AlreadyRegisteredError)


def test_a_user_subscribes() -> None:
    given(User("123"), REGISTERED).when(COMMANDS[0]).then(
        UserSubscribed(user_id="123", plan="premium", payment_method="credit_card", subscription_timestamp=LATER)
    ).then_state(subscription_plan="premium")


def test_a_user_changes_preferences() -> None:
    given(User("123"), REGISTERED).when(COMMANDS[1]).then(
        UserPreferencesUpdated(
            user_id="123", old_preferences=["Drama"], new_preferences=["Comedy"], update_timestamp=LATER
        )
    ).then_state(preferences=["Comedy"])


def test_a_user_is_deactivated() -> None:
    given(User("123"), REGISTERED).when(COMMANDS[2]).then(
        UserDeactivated(user_id="123", reason="moved away", deactivation_timestamp=LATER)
    ).then_state(is_active=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_who_is_not_registered_can_do_nothing_else(command: Callable[[User], None]) -> None:
    given(User("123")).when(command).then_raises(NotRegisteredError, "user 123")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_deactivated_user_can_do_nothing(command: Callable[[User], None]) -> None:
    given(User("123"), REGISTERED, DEACTIVATED).when(command).then_raises(InactiveUserError, "user 123")


def test_a_broken_rule_is_no_error_of_the_library() -> None:
    assert not issubclass(AlreadyRegisteredError, PerdureError)


def test_an_event_happened_when_the_command_says() -> None:
    user = User("123")
    register(user)
    user.subscribe_to_plan("premium", "credit_card", at=LATER)

    assert [new.metadata.timestamp for new in user.uncommitted_events] == [AT, LATER]


def test_without_a_time_it_happens_now() -> None:
    before = datetime.now(UTC)
    user = User("123")
    user.register("john@example.com", "John Doe", [])
    (new,) = user.uncommitted_events

    assert before <= new.metadata.timestamp <= datetime.now(UTC)
    assert isinstance(new.event, UserRegistered)
    assert new.event.registration_timestamp == new.metadata.timestamp


async def test_a_replayed_user_is_the_user_that_was_saved() -> None:
    users = Repository(User, InMemoryEventStore())
    user = User("123")
    register(user)
    for command in COMMANDS:
        command(user)
    await users.save(user)

    assert vars(await users.get("123")) == vars(user)

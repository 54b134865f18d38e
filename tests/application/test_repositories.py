"""An aggregate has one repository while the application is connected, with the settings of the application."""

from typing import Any

import pytest

from examples.streaming.user import User
from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    AggregateSettings,
    Application,
    InMemoryEventStore,
    InvalidArgumentError,
    RetryConfig,
    UnknownAggregateError,
)
from tests.repository.carts import AddItem, cart_decider


class AnotherUser(AggregateRoot, category="user"):
    pass


class Unnamed(AggregateRoot):
    pass


class Unstorable(AggregateRoot, category="unstorable"):
    connection: Application | None = None


async def test_a_repository_works_in_the_open_store() -> None:
    app = Application(InMemoryEventStore(), aggregates=[User, cart_decider])

    async with app.connect():
        await app.repository(User).execute("123", lambda user: user.register("a@example.com", "Ann", []))
        await app.repository(cart_decider).execute("1", AddItem(sku="dvd"))

        assert (await app.repository(User).get("123")).name == "Ann"
        assert await app.repository(cart_decider).load("1") is not None


async def test_a_repository_is_the_same_object_each_time_with_its_settings() -> None:
    retry = RetryConfig(max_attempts=2)
    app = Application(
        InMemoryEventStore(),
        aggregates=[AggregateSettings(User, retry=retry, snapshot_every=2, queue_commands=False), cart_decider],
    )

    async with app.connect() as store:
        users = app.repository(User)

        assert app.repository(User) is users
        assert app.repository(cart_decider) is app.repository(cart_decider)
        assert users.retry is retry
        await users.execute("1", lambda user: user.register("a@example.com", "Ann", []))
        await users.execute("1", lambda user: user.subscribe_to_plan("premium", "card"))
        assert store.snapshots is not None
        assert await store.snapshots.read("user-1") is not None


@pytest.mark.parametrize("aggregate", [User, cart_decider])
async def test_the_size_of_a_cache_is_that_of_its_repository(aggregate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr("perdure.repository.repository.AggregateCache", sizes.append)
    app = Application(InMemoryEventStore(), aggregates=[AggregateSettings(aggregate, cache_size=7)])

    async with app.connect():
        app.repository(aggregate)

    assert sizes == [7]


async def test_the_settings_of_a_decider_are_those_of_its_repository() -> None:
    app = Application(InMemoryEventStore(), aggregates=[AggregateSettings(cart_decider, snapshot_every=1)])

    async with app.connect() as store:
        await app.repository(cart_decider).execute("1", AddItem(sku="dvd"))

        assert store.snapshots is not None
        assert await store.snapshots.read("cart-1") is not None


async def test_a_new_connection_has_repositories_of_its_own() -> None:
    app = Application(aggregates=[User])

    async with app.connect(InMemoryEventStore()):
        first = app.repository(User)
    async with app.connect(InMemoryEventStore()) as store:
        assert app.repository(User) is not first
        assert app.repository(User).store is store


async def test_an_aggregate_that_is_not_listed_has_no_repository() -> None:
    app = Application(InMemoryEventStore())

    async with app.connect():
        with pytest.raises(
            UnknownAggregateError, match=r"streaming\.user\.User isn't in the application: add it"
        ) as caught:
            app.repository(User)
        with pytest.raises(UnknownAggregateError, match="the decider of 'cart' isn't in the application: add it"):
            app.repository(cart_decider)
    assert (caught.value.category, caught.value.owner) == ("user", None)


def test_an_aggregate_of_a_category_that_another_one_owns_is_told_from_it() -> None:
    app = Application(aggregates=[User])

    with pytest.raises(UnknownAggregateError, match=r"'user' belong to examples\.streaming\.user\.User"):
        app.repository(AnotherUser)


@pytest.mark.parametrize("not_an_aggregate", ["user", User("1"), None, 5])
def test_what_is_no_aggregate_has_no_repository(not_an_aggregate: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a class of aggregates or a decider"):
        Application(aggregates=[User]).repository(not_an_aggregate)


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"aggregate": "user"}, InvalidArgumentError, "a class of aggregates or a decider"),
        ({"aggregate": User, "snapshot_every": 0}, InvalidArgumentError, "snapshot_every"),
        ({"aggregate": User, "cache_size": 0}, InvalidArgumentError, "cache_size"),
        ({"aggregate": User, "retry": 3}, InvalidArgumentError, "retry"),
        ({"aggregate": User, "queue_commands": "no"}, InvalidArgumentError, "queue_commands"),
        ({"aggregate": Unnamed}, AggregateDefinitionError, "no category"),
        ({"aggregate": Unstorable, "snapshot_every": 9}, InvalidArgumentError, "Unstorable"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_where_they_are_written(
    settings: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        AggregateSettings(**settings)

"""What belongs together is checked at construction, and nothing is opened before it is asked for."""

import asyncio
import inspect
from typing import Any

import pytest

from examples.streaming import app as streaming
from examples.streaming.popularity import ContentPopularity
from examples.streaming.profiles import UserProfiles
from examples.streaming.user import User
from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    AggregateSettings,
    Application,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    PostgreSQLEventStore,
    Projection,
    ProjectionService,
    Repository,
    StoreUnavailableError,
    UnknownProjectionError,
    UnsupportedOperationError,
    WrongContextError,
    connect,
)
from perdure.application import ServiceSettings
from perdure.stores.connect import ConnectSettings
from tests.application.fulfilment import Fulfilment
from tests.repository.carts import cart_decider


class UncertainIndex(Projection, name="uncertain_index"):
    def __init__(self, client: object = None) -> None:
        self.client = client


def without_application() -> None: ...


def making_nothing(_: Application) -> None: ...


def making_a_class(_: Application) -> type[UserProfiles]:
    return UserProfiles


NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


class AnotherUser(AggregateRoot, category="user"):
    pass


class Unnamed(AggregateRoot):
    pass


def test_making_one_connects_to_nothing() -> None:
    assert Application(NOWHERE, aggregates=[User], projections=[UserProfiles()]).categories == ["user"]


async def test_the_projections_run_on_the_open_store(database_url: str) -> None:
    app = Application({"url": database_url}, aggregates=[User], projections=[UserProfiles(), ContentPopularity()])

    async with app.connect() as store, app.projection_service() as service:
        saved = await app.repository(User).execute("1", lambda user: user.register("a@example.com", "Ann", []))
        await service.wait_for("user_profiles", saved)

        assert isinstance(store, PostgreSQLEventStore)
        assert await store.database.fetch_value("select name from user_profiles") == "Ann"
        assert [status.name for status in await service.status()] == ["user_profiles", "content_popularity"]


async def test_chosen_projections_run_alone(database_url: str) -> None:
    app = Application(database_url, projections=[UserProfiles(), ContentPopularity()])

    async with app.connect(), app.projection_service(["content_popularity"], stop_timeout=1) as service:
        assert [status.name for status in await service.status()] == ["content_popularity"]


async def test_a_projection_that_is_not_there_is_told(database_url: str) -> None:
    app = Application(database_url, projections=[UserProfiles()])

    async with app.connect():
        with pytest.raises(UnknownProjectionError, match="user_profiles"):
            app.projection_service(["nope"])


async def test_settings_are_those_of_connect(empty_database_url: str) -> None:
    app = Application({"url": empty_database_url, "schema": "shop"})

    async with app.connect() as store:
        assert isinstance(store, PostgreSQLEventStore)
        assert store.database.schema == "shop"


async def test_a_store_that_is_not_open_is_opened_and_closed(database_url: str) -> None:
    store = PostgreSQLEventStore(database_url)
    app = Application(store)

    async with app.connect() as opened:
        assert opened is store
        assert store.is_open

    assert not store.is_open


async def test_a_store_that_is_open_stays_open(store: PostgreSQLEventStore) -> None:
    async with Application(store).connect():
        pass

    assert store.is_open


async def test_a_store_in_memory_keeps_its_events_between_two_connections() -> None:
    app = Application(InMemoryEventStore(), aggregates=[User])

    async with app.connect():
        await app.repository(User).execute("1", lambda user: user.register("a@example.com", "Ann", []))
    async with app.connect() as store:
        assert await store.stream_version("user-1") == 1


async def test_another_store_can_be_taken_for_once() -> None:
    other = InMemoryEventStore()
    app = Application(NOWHERE, aggregates=[User])

    async with app.connect(other) as store:
        assert store is other
    with pytest.raises(StoreUnavailableError):
        async with app.connect():
            pass


async def test_after_a_failure_to_connect_it_can_be_connected() -> None:
    app: Application[EventStore] = Application(NOWHERE)
    with pytest.raises(StoreUnavailableError):
        async with app.connect():
            pass

    async with app.connect(InMemoryEventStore()) as store:
        assert app.store is store


def test_outside_connect_there_is_no_store() -> None:
    app = Application(aggregates=[User], projections=[UserProfiles()])

    for use in (lambda: app.store, lambda: app.repository(User), app.projection_service):
        with pytest.raises(WrongContextError, match=r"app\.connect"):
            use()


async def test_it_is_connected_once_at_a_time() -> None:
    app = Application(InMemoryEventStore())

    async with app.connect():
        with pytest.raises(WrongContextError, match="connected already"):
            async with app.connect():
                pass


class SlowToOpen(InMemoryEventStore):
    def __init__(self) -> None:
        super().__init__()
        self.opening, self.go_on = asyncio.Event(), asyncio.Event()
        self._closed = True

    async def open(self) -> None:
        self.opening.set()
        await self.go_on.wait()
        await super().open()


async def test_it_is_connected_once_even_while_the_store_is_being_opened() -> None:
    store = SlowToOpen()
    app = Application(store)

    async def connect() -> None:
        async with app.connect():
            pass

    task = asyncio.create_task(connect())
    await store.opening.wait()
    with pytest.raises(WrongContextError, match="connected already"):
        await connect()
    store.go_on.set()
    await task


async def test_projections_need_a_database() -> None:
    app = Application(InMemoryEventStore(), projections=[UserProfiles()])

    async with app.connect():
        with pytest.raises(UnsupportedOperationError):
            app.projection_service()


def test_the_aggregate_of_a_stream_is_found_by_its_category() -> None:
    app = Application(aggregates=[User, cart_decider])

    assert app.aggregate_of("user-a-b") is User
    assert app.aggregate_of("cart-1") is cart_decider.aggregate_class
    assert app.aggregate_of("content-1") is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"aggregates": [User, AnotherUser]}, r"two of category 'user', .*\.User and .*\.AnotherUser: only one"),
        ({"aggregates": [User, AggregateSettings(User, snapshot_every=9)]}, "two of category 'user'"),
        ({"aggregates": [User("1")]}, "neither an aggregate class nor a decider"),
        ({"aggregates": User}, "must be a list"),
        ({"aggregates": "user"}, "must be a list"),
        ({"projections": [UserProfiles(), UserProfiles()]}, "two of the name 'user_profiles'"),
        ({"projections": [UserProfiles]}, r"UserProfiles.*: give an instance, UserProfiles\("),
        ({"projections": [without_application]}, "without_application.*: let it take the application"),
        ({"projections": [making_nothing]}, "which made None, not a projection"),
        ({"projections": [making_a_class]}, "which made <class"),
        ({"projections": [User]}, "neither a projection nor a function that makes one"),
        ({"projections": [UncertainIndex]}, "give an instance, UncertainIndex"),
        ({"projections": [Fulfilment, Fulfilment]}, "two of the name 'fulfilment'"),
        ({"projections": UserProfiles()}, "must be a list"),
        ({"store": 17}, "a store, a URL or a dict"),
        ({"store": {"url": "postgresql://x", "pool": 3}}, "unknown settings \\['pool'\\]"),
    ],
)
def test_what_cannot_be_is_refused_at_construction(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        Application(**arguments)


def test_an_aggregate_without_a_category_is_refused_at_construction() -> None:
    with pytest.raises(AggregateDefinitionError, match="no category"):
        Application(aggregates=[Unnamed])


def test_settings_that_change_later_do_not_change_it() -> None:
    settings: Any = {"schema": "shop"}
    app = Application(settings)
    settings["schema"] = "other"

    assert app.store_source == {"schema": "shop"}


def test_the_reference_application_lists_its_parts() -> None:
    assert streaming.categories == ["user"]
    assert [one.name for one in streaming.projections] == ["user_profiles", "content_popularity"]


def test_it_takes_every_setting_of_a_store_and_of_a_service() -> None:
    service = {
        name
        for name, parameter in inspect.signature(ProjectionService).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }

    of_a_repository = {
        name
        for name, parameter in inspect.signature(Repository).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }

    assert {"aggregate", *of_a_repository} == inspect.signature(AggregateSettings).parameters.keys()
    assert ServiceSettings.__optional_keys__ == service
    assert ConnectSettings.__optional_keys__ == inspect.signature(connect).parameters.keys()


async def test_it_says_what_it_consists_of() -> None:
    app: Application[InMemoryEventStore] = Application(
        InMemoryEventStore(), aggregates=[User], projections=[UserProfiles()]
    )

    assert repr(app) == "<Application of user, user_profiles, not connected>"
    async with app.connect():
        assert repr(app) == "<Application of user, user_profiles, connected to InMemoryEventStore>"
    assert repr(Application()) == "<Application of nothing, not connected>"

"""A projection may know its application: it is given as its class, or as a function that makes it."""

import pytest

from examples.streaming.popularity import ContentPopularity
from examples.streaming.profiles import UserProfiles
from examples.streaming.user import User
from perdure import Application, InvalidArgumentError, Reaction, UnknownProjectionError, WrongContextError, handles
from tests.application.fulfilment import Fulfilment, Order, Ordered, Stock
from tests.patience import patience


async def test_a_projection_executes_commands_through_the_application(database_url: str) -> None:
    app = Application(database_url, aggregates=[Order, Stock], projections=[Fulfilment])

    async with app.connect(), app.projection_service():
        saved = await app.repository(Order).execute("1", lambda order: order.place("dvd"))
        await app.wait_for("fulfilment", saved)

        assert (await app.repository(Stock).get("dvd")).reserved == 1


def test_a_projection_is_made_once_with_the_application_by_its_class_or_a_function() -> None:
    made: list[Application] = []

    def make(app: Application) -> UserProfiles:
        made.append(app)
        return UserProfiles()

    app = Application(projections=[Fulfilment, make, ContentPopularity()])

    fulfilment = app.projection("fulfilment")
    assert isinstance(fulfilment, Fulfilment)
    assert fulfilment.app is app
    assert made == [app]
    assert [one.name for one in app.projections] == ["fulfilment", "user_profiles", "content_popularity"]


def test_an_error_in_the_making_of_a_projection_is_raised() -> None:
    def make(_: Application) -> UserProfiles:
        raise KeyError("a setting")

    with pytest.raises(KeyError, match="a setting"):
        Application(projections=[make])


def test_an_application_that_is_being_made_has_no_projections_yet() -> None:
    def make(app: Application) -> UserProfiles:
        assert app.projections == ()
        assert app.categories == ["user"]
        with pytest.raises(WrongContextError, match=r"app\.connect"):
            app.repository(User)
        with pytest.raises(UnknownProjectionError, match="the projections are: none"):
            app.projection("user_profiles")
        return UserProfiles()

    app = Application(aggregates=[User], projections=[make])

    assert app.projections == (app.projection("user_profiles"),)


async def test_reactions_run_with_the_projections_and_are_made_from_the_application(database_url: str) -> None:
    seen: list[str] = []

    class Greeting(Reaction, name="greeting", start=0):
        def __init__(self, app: Application) -> None:
            self.app = app

        @handles
        async def placed(self, event: Ordered) -> None:
            await self.app.repository(Stock).execute(event.sku, Stock.reserve)
            seen.append(event.sku)

    app = Application(database_url, aggregates=[Order, Stock], projections=[UserProfiles()], reactions=[Greeting])
    assert [one.name for one in app.followers] == ["user_profiles", "greeting"]
    assert app.reaction("greeting") is app.reactions[0]
    with pytest.raises(UnknownProjectionError):
        app.projection("greeting")
    async with app.connect(), app.projection_service():
        saved = await app.repository(Order).execute("1", lambda order: order.place("dvd"))
        for name in ("greeting", "user_profiles"):
            await app.wait_for(name, saved, timeout=patience(30))
    assert seen == ["dvd"]


def test_a_reaction_and_a_projection_of_one_name_are_refused() -> None:
    class Greeting(Reaction, name="user_profiles"): ...

    with pytest.raises(InvalidArgumentError, match="two of the name 'user_profiles'"):
        Application(projections=[UserProfiles()], reactions=[Greeting()])

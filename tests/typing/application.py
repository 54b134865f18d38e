"""What type checkers see of an application. `make types` checks this file; nothing runs it."""

from typing import assert_type

from perdure import AggregateRoot, Application, Decider, DeciderRepository, EventStore, ProjectionService, Repository


class User(AggregateRoot, category="user"):
    pass


def decide(command: str, state: int) -> list[object]:
    return []


def evolve(state: int, event: object) -> int:
    return state


counter = Decider[str, object, int](category="counter", initial_state=int, decide=decide, evolve=evolve)
app = Application("postgresql://localhost/shop", aggregates=[User, counter], projections=[])
also = Application({"schema": "shop", "migrate": False})


async def use() -> None:
    async with app.connect() as store:
        assert_type(store, EventStore)
        assert_type(app.repository(User), Repository[User])
        assert_type(app.repository(counter, snapshot_every=100), DeciderRepository[str, int])
        assert_type(app.projection_service(["users"], stop_timeout=1.0), ProjectionService)
        assert_type(app.aggregate_of("user-1"), type[AggregateRoot] | None)

"""What type checkers see of an application. `make types` checks this file; nothing runs it."""

from functools import partial
from typing import Any, assert_type

import asyncpg

from perdure import (
    AggregateRoot,
    AggregateSettings,
    Application,
    Decider,
    DeciderRepository,
    EventStore,
    InlineProjections,
    InMemoryEventStore,
    PostgreSQLEventStore,
    Projection,
    ProjectionService,
    ProjectionTransaction,
    Repository,
    RetryConfig,
    StoredEvent,
)


class User(AggregateRoot, category="user"):
    pass


def decide(command: str, state: int) -> list[object]:
    return []


def evolve(state: int, event: object) -> int:
    return state


counter = Decider[str, object, int](category="counter", initial_state=int, decide=decide, evolve=evolve)
app = Application(
    "postgresql://localhost/shop", aggregates=[User, AggregateSettings(counter, snapshot_every=100)], projections=[]
)
also: Application = Application({"schema": "shop", "migrate": False})
settings = AggregateSettings(User, retry=RetryConfig(3), snapshot_every=500, queue_commands=False)
AggregateSettings("user")  # type: ignore[arg-type]  # neither a class nor a decider


async def use() -> None:
    async with app.connect() as store:
        assert_type(store, PostgreSQLEventStore)
        assert_type(app.repository(User), Repository[User])
        assert_type(app.repository(counter), DeciderRepository[str, int])
        assert_type(app.projection_service(["users"], stop_timeout=1.0), ProjectionService)
        assert_type(app.aggregate_of("user-1"), type[AggregateRoot] | None)


async def the_database_is_typed() -> None:
    async with app.connect() as store, store.transaction() as tx:
        assert_type(await store.database.fetch("select 1"), list["asyncpg.Record"])
        await tx.connection.execute("select 1")
        await app.repository(User).save(User("1"), tx=tx)
    async with also.connect():
        assert_type(await also.store.database.fetch("select 1"), list["asyncpg.Record"])


async def another_store_keeps_its_type(inline: InlineProjections) -> None:
    in_memory = Application(InMemoryEventStore())
    assert_type(in_memory, Application[InMemoryEventStore])
    async with in_memory.connect() as memory:
        assert_type(memory, InMemoryEventStore)
    async with Application(inline).connect() as wrapped:
        assert_type(await wrapped.database.fetch("select 1"), list["asyncpg.Record"])
    async with app.connect(InMemoryEventStore()) as for_a_test:
        assert_type(for_a_test, InMemoryEventStore)
    async with in_memory.connect("postgresql://localhost/shop") as other:
        assert_type(other, PostgreSQLEventStore)


class Reaction(Projection, name="reaction"):
    def __init__(self, app: Application) -> None:
        self.app = app

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        assert_type(self.app.store, PostgreSQLEventStore)
        await self.app.repository(counter).execute("1", "count", command_id=event.event_id)


class Plain(Projection, name="plain"):
    pass


Application(projections=[Reaction, partial(Reaction), Plain()])
Application(InMemoryEventStore(), projections=[lambda app: Plain()])
Application(projections=[Plain])  # type: ignore[list-item]  # it takes no application: give an instance


def any_application(_: Application[EventStore]) -> None: ...


def pass_it_on(of_any_store: "Application[Any]") -> None:
    any_application(app)
    any_application(Application(InMemoryEventStore()))
    assert_type(of_any_store.repository(User), Repository[User])

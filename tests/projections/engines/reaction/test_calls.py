"""Reactions call their handlers for each event, in order for each key, at the same time for different keys."""

import asyncio

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.context import context, current_context
from perdure.errors import ProjectionDefinitionError
from perdure.events import StoredEvent, handles
from perdure.log import NOW
from perdure.projection import Projection, ProjectionTransaction
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.reaction import Delivery, Reaction
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.counting import Visited
from tests.projections.engines.reaction.calling import Placed, Provider, Shipping, Unnoticed, key_of, place, until

pytestmark = pytest.mark.usefixtures("quick_beats")


async def test_each_event_is_called_once_with_its_key(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", await place(store, "a", 1, 2), timeout=patience(30))
    events = await store.read_all_events()
    assert [call.key for call in provider.calls] == [key_of(stored.event_id) for stored in events]
    assert {(call.attempt, call.may_be_repeat) for call in provider.calls} == {(1, False)}


async def test_events_of_a_key_are_called_in_order_those_of_others_at_the_same_time(
    store: PostgreSQLEventStore,
) -> None:
    provider = Provider()
    numbers = range(30)
    for number in numbers:
        for order in "abcdefghijkl":
            await place(store, order, number)
    async with ProjectionService(store, [Shipping(provider)], batch_size=100) as service:
        await service.wait_for("shipping", 360, timeout=patience(60))
    assert {order: provider.numbers(order) for order in "abcdefghijkl"} == {key: [*numbers] for key in "abcdefghijkl"}
    assert provider.most_for_an_order == 1
    assert provider.most_at_once == Shipping.concurrency


async def test_what_happened_before_the_first_service_is_left_alone(store: PostgreSQLEventStore) -> None:
    class Begun(Shipping, name="begun"):
        """Begins when it is deployed."""

    assert Begun.start is NOW
    provider = Provider()
    await place(store, "old", *range(500))
    async with ProjectionService(store, [Begun(provider)]):
        pass
    await place(store, "between", 1)  # while no service runs
    async with ProjectionService(store, [Begun(provider)]) as service:
        await service.wait_for("begun", await place(store, "new", 1), timeout=patience(30))
    assert [call.order for call in provider.calls] == ["between", "new"]


async def test_a_slow_call_holds_up_its_own_key_only(store: PostgreSQLEventStore) -> None:
    provider = Provider(gates={"slow": asyncio.Event()})
    await place(store, "slow", 1, 2)
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await until(lambda: provider.numbers("slow"))
        for number in range(5):  # each is a batch of its own
            await place(store, "quick", number)
            await until(lambda: len(provider.numbers("quick")) == number + 1)  # noqa: B023 - it is awaited here
        assert provider.numbers("slow") == [1]
        provider.gates["slow"].set()
        await service.wait_for("shipping", 7, timeout=patience(30))
    assert provider.numbers("slow") == [1, 2]
    assert provider.numbers("quick") == [*range(5)]


async def test_no_transaction_is_open_during_a_call(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    found: list[object] = []

    class Looking(Reaction, name="looking", start=0):
        @handles
        async def placed(self, event: Placed) -> None:
            found.append(
                await connection.fetchval(
                    "select count(*) from pg_stat_activity where datname = current_database()"
                    " and state = 'idle in transaction'"
                )
            )

    async with ProjectionService(store, [Looking()]) as service:
        await service.wait_for("looking", await place(store, "a", 1, 2), timeout=patience(30))
    assert found == [0, 0]


async def test_what_a_handler_appends_is_caused_by_the_event(store: PostgreSQLEventStore) -> None:
    class Answering(Reaction, name="answering", start=0):
        @handles
        async def placed(self, event: Placed, at: StoredEvent) -> None:
            await store.append_to_stream(f"answer-{event.order}", ANY, [Unnoticed(order=event.order)])

    with context(correlation_id="request-1"):
        await place(store, "a", 1)
    async with ProjectionService(store, [Answering()]) as service:
        await service.wait_for("answering", 1, timeout=patience(30))
    placed, answer = await store.read_all_events()
    assert answer.metadata.correlation_id == "request-1"
    assert answer.metadata.causation_id == str(placed.event_id)
    assert current_context().causation_id is None


async def test_a_key_is_a_field_or_what_a_function_says(store: PostgreSQLEventStore) -> None:
    class ByOrder(Shipping, name="by_order", key="order", start=0, concurrency=4):
        """In order for each order, whatever the stream."""

    class AllInOrder(Shipping, name="all_in_order", key=lambda stored: "all", start=0):
        """One after the other."""

    provider, other = Provider(), Provider()
    for number in range(20):
        for order in "abcdefgh":
            await store.append_to_stream(f"x-{number % 3}-{order}", ANY, [Placed(order=order, number=number)])
    async with ProjectionService(store, [ByOrder(provider), AllInOrder(other)]) as service:
        for name in ("by_order", "all_in_order"):
            await service.wait_for(name, 160, timeout=patience(60))
    assert {order: provider.numbers(order) for order in "abcdefgh"} == {key: [*range(20)] for key in "abcdefgh"}
    assert (provider.most_for_an_order, provider.most_at_once) == (1, 4)
    assert other.most_at_once == 1
    assert [call.position for call in other.calls] == [*range(1, 161)]


async def test_events_without_a_handler_pass_without_being_decoded(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("x-1", ANY, [Unnoticed(order="a"), Visited(page="a", visitor="x")])
    await connection.execute("set session_replication_role = replica")
    await connection.execute("update perdure.events set event_data = '[]' where event_type <> 'test.reactions.placed'")
    provider = Provider()
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", await place(store, "a", 1), timeout=patience(30))
    assert len(provider.calls) == 1


async def test_stopping_lets_calls_end_and_records_them(store: PostgreSQLEventStore) -> None:
    provider = Provider(gates={"slow": asyncio.Event()})
    await place(store, "slow", 1)
    await place(store, "quick", 1, 2, 3)
    async with ProjectionService(store, [Shipping(provider)], stop_timeout=patience(30)):
        await until(lambda: len(provider.calls) == 4)
        await asyncio.sleep(0.2)  # the call is slow by then
        asyncio.get_running_loop().call_later(0.2, provider.gates["slow"].set)
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", 4, timeout=patience(30))
    assert provider.numbers("slow") == [1]
    assert provider.numbers("quick") == [1, 2, 3]


async def test_stopping_also_makes_the_calls_that_precede_one_that_was_made(store: PostgreSQLEventStore) -> None:
    """Otherwise that one couldn't be recorded, and would be made again by the next process."""
    provider = Provider(gates={"slow": asyncio.Event()})
    await place(store, "slow", 1, 2)  # the second can't begin before the first has ended
    await place(store, "quick", 1, 2)
    await place(store, "slow", 3)
    async with ProjectionService(store, [Shipping(provider)], stop_timeout=patience(30)):
        await until(lambda: len(provider.calls) == 3)
        asyncio.get_running_loop().call_later(0.2, provider.gates["slow"].set)
    assert (provider.numbers("slow"), provider.numbers("quick")) == ([1, 2], [1, 2])
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", 5, timeout=patience(30))
    assert (provider.numbers("slow"), provider.numbers("quick")) == ([1, 2, 3], [1, 2])
    assert not any(call.may_be_repeat for call in provider.calls)


async def test_a_call_that_is_cut_off_by_stopping_may_be_repeated_and_says_so(store: PostgreSQLEventStore) -> None:
    provider = Provider(gates={"slow": asyncio.Event()})
    await place(store, "slow", 1)
    async with ProjectionService(store, [Shipping(provider)], stop_timeout=0):
        await until(lambda: provider.numbers("slow"))
    provider.gates["slow"].set()
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", await place(store, "new", 1), timeout=patience(30))
    assert [(call.order, call.may_be_repeat) for call in provider.calls] == [
        ("slow", False),
        ("slow", True),
        ("new", False),
    ]


async def test_a_reaction_is_listed_with_its_kind_and_never_built_again(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Shipping(Provider())]) as service:
        await service.wait_for("shipping", await place(store, "a", 1), timeout=patience(30))
        operations = ProjectionOperations(store)
        [status] = await operations.status(kinds=("reaction",))
        assert (status.name, status.kind, status.is_shown, status.state) == ("shipping", "reaction", True, "running")
        assert await operations.status(kinds=("projection",)) == []
        with pytest.raises(Exception, match="is a reaction, which is never built again: see replay"):
            await operations.rebuild("shipping")


async def test_two_of_one_name_are_refused(store: PostgreSQLEventStore) -> None:
    with pytest.raises(ProjectionDefinitionError, match="more than one"):
        ProjectionService(store, [Shipping(Provider()), Shipping(Provider())])


async def test_a_reaction_is_refused_where_a_projection_has_its_name(store: PostgreSQLEventStore) -> None:
    class Former(Projection, name="shipping", version=1):
        async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None: ...

    async with ProjectionService(store, [Former()]):
        pass
    with pytest.raises(ProjectionDefinitionError, match="a projection of this name was set up"):
        await ProjectionService(store, [Shipping(Provider())]).start()


async def test_a_handler_takes_what_it_names(store: PostgreSQLEventStore) -> None:
    taken: list[object] = []

    class Both(Reaction, name="both", start=0):
        @handles
        async def placed(self, event: Placed, *, at: StoredEvent, call: Delivery) -> None:
            taken.append((event.order, at.global_position, call.name, call.key("mail", event.order)))

    async with ProjectionService(store, [Both()]) as service:
        await service.wait_for("both", await place(store, "a b", 1), timeout=patience(30))
    assert taken == [("a b", 1, "both", "both:mail:a%20b")]

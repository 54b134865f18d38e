"""An event that fails is tried again, and parked at last, with the later ones of its key; other keys go on."""

import asyncio
import json
from contextlib import suppress

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import EventParkedError, ProjectionPausedError
from perdure.events import handles
from perdure.projections.engines.reaction.parked_deliveries import pause_after
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.reaction import REACTION_RETRY, Reaction
from perdure.retry import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.engines.reaction.calling import AT_ONCE, Placed, Provider, Shipping, place, until

pytestmark = pytest.mark.usefixtures("quick_beats")

ALWAYS = 1_000_000


async def parked(store: PostgreSQLEventStore) -> list[tuple[int, str, str, int]]:
    found = await ProjectionOperations(store).parked(states=None)
    return [(one.global_position, json.loads(one.key)["stream"], one.state, one.attempts) for one in found]


async def test_an_event_that_fails_is_tried_again_and_then_recorded(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    provider = Provider()
    provider.failing["a"] = 2
    async with ProjectionService(store, [Shipping(provider)]) as service:
        saved = [await place(store, "a", 1, 2), await place(store, "b", 1)]
        await service.wait_for("shipping", saved, timeout=patience(30))
    assert provider.numbers("a") == [1, 1, 1, 2]
    assert provider.numbers("b") == [1]
    assert [(call.attempt, call.may_be_repeat) for call in provider.calls if call.order == "a"][:3] == [
        (1, False),
        (2, True),
        (3, True),
    ]
    assert len({call.key for call in provider.calls if call.number == 1 and call.order == "a"}) == 1
    assert await connection.fetchval("select count(*) from perdure.parked_events") == 0


async def test_a_poisonous_event_is_parked_with_what_follows_it_for_its_key(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    provider.failing["bad"] = ALWAYS
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await place(store, "bad", 1, 2)
        await service.wait_for("shipping", await place(store, "good", 1), timeout=patience(30))
        await until(lambda: provider.numbers("bad") == [1, 1, 1])
        await until(lambda: _is_given_up(store))
        await place(store, "bad", 3)
        await service.wait_for("shipping", await place(store, "good", 2), timeout=patience(30))
        with pytest.raises(EventParkedError):
            await service.wait_for("shipping", 2, timeout=patience(30))

        assert provider.numbers("bad") == [1, 1, 1]
        assert provider.numbers("good") == [1, 2]
        assert await parked(store) == [
            (1, "order-bad", "failed", 3),
            (2, "order-bad", "waiting", 0),
            (4, "order-bad", "waiting", 0),
        ]
        [event] = await ProjectionOperations(store).parked()
        assert event.failure is not None
        assert (event.failure.error_type, event.failure.message) == ("ConnectionError", "the provider is away")

        provider.failing["bad"] = 0
        outcome = await ProjectionOperations(store).retry_and_wait("shipping", timeout=patience(30))
        assert (outcome.asked, outcome.handled, outcome.pending) == (1, 1, 0)
        await until(lambda: provider.numbers("bad")[3:] == [1, 2, 3])
        await service.wait_for("shipping", 4, timeout=patience(30))
    assert await parked(store) == []


async def _is_given_up(store: PostgreSQLEventStore) -> bool:
    return [one[3] for one in await parked(store) if one[2] == "failed"] == [3]


async def test_what_is_skipped_is_never_called_again_and_the_rest_of_its_key_is(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    provider.failing["bad"] = ALWAYS
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await place(store, "bad", 1, 2)
        await until(lambda: _is_given_up(store))
        provider.failing["bad"] = 0
        assert await ProjectionOperations(store).skip("shipping", 1, "the customer is gone") == 1
        await until(lambda: provider.numbers("bad") == [1, 1, 1, 2])
        await service.wait_for("shipping", 2, timeout=patience(30))
        actions = [(one.action, one.reason) for one in await ProjectionOperations(store).actions("shipping")]
        assert ("skipped", "the customer is gone") in actions


async def test_while_the_provider_is_down_other_keys_go_on(store: PostgreSQLEventStore) -> None:
    """More keys fail than calls fit, each for a long time."""

    class Patient(Shipping, name="patient", start=0, retry=RetryConfig(max_attempts=50, base_delay=60, max_delay=60)):
        """Waits long between attempts."""

    provider = Provider()
    down = [f"down-{number}" for number in range(3 * Patient.concurrency)]
    provider.failing.update(dict.fromkeys(down, ALWAYS))
    async with ProjectionService(store, [Patient(provider)]) as service:
        for order in down:
            await place(store, order, 1)
        await service.wait_for("patient", await place(store, "up", 1, 2, 3), timeout=patience(30))
    assert provider.numbers("up") == [1, 2, 3]
    assert all(provider.numbers(order)[:1] == [1] for order in down)
    assert {one[2] for one in await parked(store)} == {"failed"}  # each has a time for its next attempt
    provider.failing.clear()
    await ProjectionOperations(store).retry("patient")
    async with ProjectionService(store, [Patient(provider)]) as service:
        await service.wait_for("patient", [*range(1, len(down) + 1)], timeout=patience(30))


async def test_retries_go_on_after_a_restart(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    class Later(Shipping, name="later", start=0, retry=RetryConfig(max_attempts=3, base_delay=3600, max_delay=3600)):
        """Tries again after an hour or so."""

    provider = Provider()
    provider.failing["a"] = 1
    async with ProjectionService(store, [Later(provider)]):
        await place(store, "a", 1, 2)
        await until(lambda: parked(store))
    await connection.execute("update perdure.parked_events set retry_at = clock_timestamp() where state = 'failed'")
    async with ProjectionService(store, [Later(provider)]) as service:
        await service.wait_for("later", 2, timeout=patience(30))
    assert [(call.number, call.attempt, call.may_be_repeat) for call in provider.calls] == [
        (1, 1, False),
        (1, 2, True),
        (2, 1, True),
    ]


async def test_a_handler_that_hangs_fails_after_the_timeout(store: PostgreSQLEventStore) -> None:
    provider = Provider(gates={"hangs": asyncio.Event()})
    async with ProjectionService(store, [Shipping(provider)], handler_timeout=0.05) as service:
        await place(store, "hangs", 1)
        await service.wait_for("shipping", await place(store, "other", 1), timeout=patience(30))
        await until(lambda: _is_given_up(store))
        [event] = await ProjectionOperations(store).parked()
        assert event.failure is not None
        assert (event.failure.kind, event.failure.message) == ("timeout", "it took longer than 0.05 s to be handled")


async def test_an_event_without_a_key_pauses_the_reaction_and_can_be_skipped(store: PostgreSQLEventStore) -> None:
    class Keyed(Shipping, name="keyed", key="order", start=0, retry=AT_ONCE):
        """Its key may be empty."""

    provider = Provider()
    async with ProjectionService(store, [Keyed(provider)], retry=AT_ONCE) as service:
        await place(store, "a", 1)
        await store.append_to_stream("order-none", ANY, [Placed(order="", number=2)])
        await place(store, "b", 3)
        with pytest.raises(ProjectionPausedError, match="can't take '' as the key of an event"):
            await service.wait_for("keyed", 2, timeout=patience(30))
        assert await ProjectionOperations(store).skip("keyed", 2, "no order") == 1
        await service.wait_for("keyed", 3, timeout=patience(30))
    assert [call.number for call in provider.calls] == [1, 3]


async def test_a_key_too_long_to_be_parked_pauses_the_reaction_after_its_attempts(store: PostgreSQLEventStore) -> None:
    class Long(Shipping, name="long", key="order", start=0, retry=AT_ONCE):
        """Its key may be longer than what an index can hold."""

    provider = Provider()
    order = "x" * 3000
    provider.failing[order] = ALWAYS
    async with ProjectionService(store, [Long(provider)]) as service:
        await store.append_to_stream("order-1", ANY, [Placed(order=order, number=1)])
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("long", 1, timeout=patience(30))
        assert [call.attempt for call in provider.calls] == [1, 2, 3]
        provider.failing.clear()
        await service.resume("long")
        await service.wait_for("long", 1, timeout=patience(30))


async def test_with_the_limit_of_parked_events_reached_it_waits_for_retries_and_then_for_an_operator(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.engines.reaction.processor._PAUSE_WHEN_FULL", 0.01)

    class Slow(Shipping, name="slow", start=0, retry=RetryConfig(max_attempts=2, base_delay=0.5, max_delay=0.5)):
        """Tries twice."""

    provider = Provider()
    provider.failing.update({"a": 1, "b": 1, "c": ALWAYS, "d": ALWAYS})
    async with ProjectionService(store, [Slow(provider)], max_parked=1) as service:
        await place(store, "a", 1)
        await service.wait_for("slow", await place(store, "b", 1), timeout=patience(30))
        await place(store, "c", 1)
        await place(store, "d", 1)
        with suppress(EventParkedError), pytest.raises(ProjectionPausedError, match="1 events are parked"):
            await service.wait_for("slow", 4, timeout=patience(60))
        await until(lambda: len(provider.numbers("c")) == 2)
    assert provider.numbers("a") == provider.numbers("b") == [1, 1]


async def test_keyboard_interrupt_in_a_handler_stops_the_service(store: PostgreSQLEventStore) -> None:
    class Interrupted(Reaction, name="interrupted", start=0):
        @handles
        async def placed(self, event: Placed) -> None:
            raise SystemExit(3)

    await place(store, "a", 1)
    with pytest.raises(SystemExit):
        await ProjectionService(store, [Interrupted()]).run()


def test_the_default_retries_last_for_about_a_quarter_of_an_hour() -> None:
    pauses = [pause_after(REACTION_RETRY, attempts, 0) for attempts in range(1, 13)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


def test_without_a_number_of_attempts_the_time_counts() -> None:
    retry = RetryConfig(max_seconds=10, base_delay=0, max_delay=0)
    assert pause_after(retry, 1000, 9) == 0
    assert pause_after(retry, 1, 10) is None

"""`replay` has events handled again, with the same keys, in order, and leaves a record."""

from typing import Any

import pytest

from perdure.errors import EventParkedError, InvalidArgumentError, UnknownProjectionError
from perdure.projections.operations import ProjectionOperations
from perdure.projections.replay import replay
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.counting import Pages
from tests.projections.engines.reaction.calling import AT_ONCE, Provider, Shipping, key_of, place, until

pytestmark = pytest.mark.usefixtures("quick_beats")


async def test_events_are_handled_again_with_their_keys(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    reaction = Shipping(provider)
    async with ProjectionService(store, [reaction]) as service:
        await place(store, "a", 1, 2)
        await place(store, "b", 1)
        await service.wait_for("shipping", await place(store, "a", 3), timeout=patience(30))
        provider.calls.clear()

        count = await replay(store, reaction, from_position=1, to_position=4, reason="mails were lost", actor="ann")

        assert count == 3
        await until(lambda: len(provider.calls) == 3)
        await place(store, "a", 4)
        await service.wait_for("shipping", [1, 2, 3, 4, 5], timeout=patience(30))
    assert (provider.numbers("a"), provider.numbers("b")) == ([2, 3, 4], [1])
    events = {stored.global_position: stored.event_id for stored in await store.read_all_events()}
    assert all(call.key == key_of(events[call.position]) for call in provider.calls)
    assert all(call.may_be_repeat for call in provider.calls if call.position <= 4)
    [action] = [one for one in await ProjectionOperations(store).actions("shipping") if one.action == "replayed"]
    assert (action.actor, action.reason) == ("ann", "mails were lost")
    assert action.detail == {"from": 1, "to": 4, "events": 3}


async def test_a_replay_waits_for_a_service_and_what_failed_or_was_skipped_stays(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    provider.failing.update(bad=1000, skipped=1000)
    reaction = Shipping(provider)
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [reaction]) as service:
        await place(store, "bad", 1)
        await place(store, "skipped", 1)
        await service.wait_for("shipping", await place(store, "good", 1), timeout=patience(30))
        for position in (1, 2):
            with pytest.raises(EventParkedError):
                await service.wait_for("shipping", position, timeout=patience(30))
        await operations.skip("shipping", 2, "no matter")
    provider.calls.clear()
    assert await replay(store, reaction, from_position=0, to_position=3, reason="again") == 1
    assert provider.calls == []
    async with ProjectionService(store, [reaction]) as service:
        await service.wait_for("shipping", 3, timeout=patience(30))
    assert [call.order for call in provider.calls] == ["good"]


async def test_a_replay_that_fails_is_tried_again_and_parked(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    reaction = Shipping(provider)
    async with ProjectionService(store, [reaction], retry=AT_ONCE) as service:
        await service.wait_for("shipping", await place(store, "a", 1, 2), timeout=patience(30))
        provider.failing["a"] = 1
        await replay(store, reaction, from_position=0, to_position=2, reason="again")
        await service.wait_for("shipping", 2, timeout=patience(30))
    assert provider.numbers("a") == [1, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"to_position": 0}, "must be above from_position"),
        ({"to_position": 99}, "beyond position 2, up to which 'shipping' has handled events"),
        ({"reason": " "}, "say why"),
        ({"reason": 3}, "must be a string"),
        ({"from_position": -1}, "from_position"),
        ({"to_position": True}, "to_position"),
        ({"actor": ""}, "actor"),
    ],
)
async def test_what_cant_be_replayed_is_refused(
    store: PostgreSQLEventStore, wrong: dict[str, Any], message: str
) -> None:
    reaction = Shipping(Provider())
    async with ProjectionService(store, [reaction]) as service:
        await service.wait_for("shipping", await place(store, "a", 1, 2), timeout=patience(30))
    given: dict[str, Any] = {"from_position": 0, "to_position": 2, "reason": "again"}
    with pytest.raises(InvalidArgumentError, match=message):
        await replay(store, reaction, **(given | wrong))
    assert await ProjectionOperations(store).parked(states=None) == []


async def test_a_replay_is_limited(store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.projections.replay.MOST_REPLAYED", 2)
    reaction = Shipping(Provider())
    async with ProjectionService(store, [reaction]) as service:
        await service.wait_for("shipping", await place(store, "a", 1, 2, 3), timeout=patience(30))
    with pytest.raises(InvalidArgumentError, match="position 2 is the last possible"):
        await replay(store, reaction, from_position=0, to_position=3, reason="again")
    assert await replay(store, reaction, from_position=0, to_position=2, reason="again") == 2


async def test_a_projection_and_a_reaction_that_never_ran_are_refused(store: PostgreSQLEventStore) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a reaction"):
        await replay(store, Pages(), from_position=0, to_position=1, reason="again")
    with pytest.raises(UnknownProjectionError):
        await replay(store, Shipping(Provider()), from_position=0, to_position=1, reason="again")

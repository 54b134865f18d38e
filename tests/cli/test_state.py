"""The state of an aggregate: now, after an event, and what changed between two."""

import pytest

from perdure import PostgreSQLEventStore
from tests.cli.calling import Call

pytestmark = pytest.mark.usefixtures("events")


async def test_the_state_is_shown_as_it_is(streaming: Call) -> None:
    answer = await streaming("state", "user-1")

    assert "stream     user-1\nversion    3\naggregate  examples.streaming.user.User\n" in answer.out
    assert '  "preferences": [\n    "drama",\n    "crime"\n  ]' in answer.out
    assert answer.err == "Next: perdure --app examples.streaming:app state user-1 --diff 2 3\n"


async def test_the_state_is_shown_as_it_was(streaming: Call) -> None:
    states = [(await streaming("state", "user-1", "--at", str(n), "--json")).data for n in range(4)]

    assert [one["stream_version"] for one in states] == [0, 1, 2, 3]
    assert [one["state"]["subscription_plan"] for one in states] == ["free", "free", "premium", "premium"]
    assert [one["state"]["email"] for one in states] == [None, *["john@example.com"] * 3]


async def test_two_states_are_compared(streaming: Call) -> None:
    answer = await streaming("state", "user-1", "--diff", "1", "3")

    assert "user.subscribed" in answer.out
    assert "--- after event 1\n+++ after event 3\n" in answer.out
    assert '-  "subscription_plan": "free"\n+  "subscription_plan": "premium"\n' in answer.out
    assert "email" not in answer.out.partition("+++")[2]


async def test_what_changed_is_told_field_by_field(streaming: Call) -> None:
    found = (await streaming("state", "user-1", "--diff", "1", "3", "--json")).data

    assert found["changes"] == [
        {"field": "preferences", "before": ["drama"], "after": ["drama", "crime"]},
        {"field": "subscription_plan", "before": "free", "after": "premium"},
    ]
    assert [one["stream_version"] for one in found["events"]] == [2, 3]


async def test_two_states_are_compared_backwards(streaming: Call) -> None:
    found = (await streaming("state", "user-1", "--diff", "3", "2", "--json")).data

    assert found["changes"] == [{"field": "preferences", "before": ["drama", "crime"], "after": ["drama"]}]
    assert [one["stream_version"] for one in found["events"]] == [3]


async def test_a_state_that_did_not_change_is_told(streaming: Call) -> None:
    assert "The state is the same." in (await streaming("state", "user-1", "--diff", "2", "2")).out


async def test_the_state_of_a_decider_is_shown(
    perdure: Call, store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perdure import Application, DeciderRepository
    from tests.repository import carts

    await DeciderRepository(carts.cart_decider, store).execute("1", carts.AddItem(sku="dvd"))
    monkeypatch.setattr(carts, "app", Application(aggregates=[carts.cart_decider]), raising=False)

    found = (await perdure("--app", "tests.repository.carts:app", "state", "cart-1", "--json")).data

    assert found["state"] == {"items": {"dvd": 1}, "is_paid": False}


@pytest.mark.parametrize(
    ("arguments", "status", "reason", "next_command"),
    [
        (["user-9"], 1, "there is no stream 'user-9'", "streams list"),
        (["user-1", "--at", "4"], 2, "'user-1' has only 3 events", "state user-1"),
        (["user-1", "--diff", "1", "9"], 2, "'user-1' has only 3 events", "state user-1"),
        (["user-1", "--at", "1", "--diff", "1", "2"], 2, "can't be combined", "state --help"),
        (["content-1"], 2, "no aggregate for 'content-1'; the categories of its aggregates are: user",
         "streams show content-1"),
        (["user-1", "--diff", "1"], 2, "requires 2 arguments", "state --help"),
    ],
)  # fmt: skip
async def test_a_state_that_cannot_be_shown_is_told(
    streaming: Call, arguments: list[str], status: int, reason: str, next_command: str
) -> None:
    answer = await streaming("state", *arguments)

    assert answer.status == status
    assert reason in answer.err
    assert answer.err.endswith(f"Next: perdure --app examples.streaming:app {next_command}\n")


async def test_a_state_needs_the_application(perdure: Call) -> None:
    answer = await perdure("state", "user-1")

    assert answer.status == 2
    assert "'state' needs the application" in answer.err
    assert answer.err.endswith("Next: perdure --app module:name state\n")

"""How reactions are, and what operators do with them."""

from collections.abc import AsyncIterator

import pytest

from perdure import PostgreSQLEventStore
from perdure.errors import EventParkedError
from perdure.projections.service import ProjectionService
from tests.cli import reacting
from tests.cli.calling import Answer, Call
from tests.cli.reacting import app
from tests.patience import patience

APP = "tests.cli.reacting:app"


@pytest.fixture
def call(perdure: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr(reacting, "calls", [])
    monkeypatch.setattr(reacting, "is_mended", False)

    async def call(*arguments: str) -> Answer:
        return await perdure("--app", APP, *arguments)

    return call


@pytest.fixture
async def running(call: Call, store: PostgreSQLEventStore, events: None) -> AsyncIterator[Call]:
    """A reaction that runs and has parked the event at position 3."""
    async with ProjectionService(store, app.reactions) as service:
        with pytest.raises(EventParkedError):
            await service.wait_for("welcome", 3, timeout=patience(30))
        yield call


async def test_reactions_are_listed_with_those_that_never_ran(call: Call, perdure: Call) -> None:
    answer = await call("reactions", "list")
    assert [line.split() for line in answer.out.splitlines()[1:]] == [["welcome", "never", "run", "-", "-", "0"]]
    assert (await perdure("reactions", "list")).out == "No reactions.\n"
    assert (await perdure("reactions", "status")).out == "No reactions.\n"


async def test_the_status_shows_what_is_parked_and_projections_are_elsewhere(running: Call) -> None:
    [listed] = (await running("reactions", "list", "--json")).data["reactions"]
    assert (listed["name"], listed["state"], listed["parked"]) == ("welcome", "running", 1)
    answer = await running("reactions", "status")
    assert answer.status == 1
    assert answer.out.splitlines()[1].split()[:2] == ["welcome", "running"]
    assert answer.err == f"Next: perdure --app {APP} reactions status welcome\n"
    one = await running("reactions", "status", "welcome")
    assert one.out.splitlines()[0].split() == ["reaction", "welcome"]
    assert one.err == f"Next: perdure --app {APP} parked list welcome\n"
    assert (await running("projections", "list")).out == "No projections.\n"


async def test_a_parked_event_is_shown_and_retried(running: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = await running("reactions", "show", "welcome", "3")
    assert "ArithmeticError: can't count to two" in shown.out
    failed = await running("reactions", "retry", "welcome", "--wait")
    assert (failed.status, failed.out.splitlines()[0]) == (1, "welcome has handled 0 of 1 retried event.")
    monkeypatch.setattr(reacting, "is_mended", True)
    handled = await running("reactions", "retry", "welcome", "--wait", "--json")
    assert handled.data["outcome"]["handled"] == 1
    assert len(reacting.calls) == len(set(reacting.calls))


async def test_a_parked_event_is_skipped_for_good(running: Call) -> None:
    unsure = await running("reactions", "skip", "welcome", "3", "--reason", "gone")
    assert unsure.status == 2
    assert (await running("reactions", "skip", "welcome", "3", "--reason", "gone", "--yes")).status == 0
    assert "skipped" in (await running("reactions", "actions", "welcome")).out
    assert (await running("reactions", "status")).status == 0


async def test_events_are_replayed_with_a_reason_on_record(running: Call, store: PostgreSQLEventStore) -> None:
    before = [*reacting.calls]
    words = "reactions", "replay", "welcome", "--from", "0", "--to", "2", "--reason", "mails were lost"
    unsure = await running(*words)
    assert unsure.status == 2
    assert "welcome will handle its events from position 1 to 2 again" in unsure.err
    assert "--from 0" in unsure.err
    answer = await running(*words, "--yes")
    assert answer.out == "1 event will be handled again by the services that run welcome.\n"
    async with ProjectionService(store, app.reactions) as service:
        await service.wait_for("welcome", [1, 2], timeout=patience(30))
    assert reacting.calls == [*before, before[0]]
    [action] = [
        one
        for one in (await running("reactions", "actions", "welcome", "--json")).data["actions"]
        if one["action"] == "replayed"
    ]
    assert (action["reason"], action["detail"]) == ("mails were lost", {"from": 0, "to": 2, "events": 1})


async def test_a_replay_that_cant_be_is_refused(running: Call, perdure: Call) -> None:
    words = "reactions", "replay", "welcome", "--from", "0", "--reason", "again", "--yes"
    too_far = await running(*words, "--to", "999")
    assert (too_far.status, "beyond position" in too_far.err) == (2, True)
    unknown = await running("reactions", "replay", "nobody", "--from", "0", "--to", "1", "--reason", "x", "--yes")
    assert unknown.status != 0
    assert "nobody" in unknown.err
    assert "needs the application" in (await perdure(*words, "--to", "1")).err


async def test_a_reaction_is_paused_and_resumed_and_never_built_again(running: Call) -> None:
    assert (await running("reactions", "pause", "welcome", "--reason", "maintenance")).out == "welcome is paused.\n"
    assert (await running("reactions", "resume", "welcome")).out == "welcome is resumed.\n"
    rebuilt = await running("projections", "rebuild", "welcome")
    assert rebuilt.status != 0
    assert "is a reaction, which is never built again" in rebuilt.err

"""How projections are, and what operators do with them; parked events."""

import json
import signal
from collections.abc import AsyncIterator

import pytest

from perdure import PostgreSQLEventStore, RetryConfig
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from tests.cli.calling import Answer, Call, check_envelope, on_terminal, plain, start
from tests.cli.failing import app

APP = "tests.cli.failing:app"


@pytest.fixture
async def failing(perdure: Call, store: PostgreSQLEventStore, events: None) -> AsyncIterator[Call]:
    """Projections that run, one paused before position 3, one that has parked the event there."""
    operations = ProjectionOperations(store)
    async with ProjectionService(store, app.projections, retry=RetryConfig(max_attempts=1)) as service:
        await service.wait_for("parking", 6, timeout=30)
        while (await operations.status("pausing"))[0].failure is None:
            await service.wait_for("pausing", 2, timeout=30)

        async def call(*arguments: str) -> Answer:
            return await perdure("--app", APP, *arguments)

        yield call


async def test_projections_are_listed_with_those_that_never_ran(perdure: Call) -> None:
    answer = await perdure("--app", APP, "projections", "list")

    assert [row.split() for row in answer.out.splitlines()[1:]] == [
        ["pausing", "1", "-", "no", "never", "run", "-"],
        ["parking", "1", "-", "no", "never", "run", "-"],
    ]
    assert (await perdure("projections", "list")).out == "No projections.\n"
    assert (await perdure("projections", "status")).out == "No projections.\n"


async def test_the_status_shows_what_keeps_a_projection_from_going_on(failing: Call) -> None:
    answer = await failing("projections", "status")

    header, parking, pausing, error = answer.out.splitlines()
    assert header.split() == ["projection", "state", "position", "lag", "behind", "rate", "left", "parked", "owner"]
    assert parking.split()[:4] == ["parking", "running", "6", "0"]
    assert pausing.split()[:4] == ["pausing", "paused", "2", "4"]
    assert error == "pausing: ArithmeticError at position 3: can't count to two"
    assert answer.status == 1
    assert answer.err == f"Next: perdure --app {APP} projections status pausing\n"


async def test_the_status_of_one_projection_is_shown_in_full(failing: Call) -> None:
    short = await failing("projections", "status", "pausing")
    full = await failing("projections", "status", "pausing", "--full")
    [data] = (await failing("projections", "status", "pausing", "--json")).data["projections"]

    assert "Paused before position 3\nevent  user.registered, user-2 version 1\n" in short.out
    assert "error  ArithmeticError: can't count to two" in short.out
    assert "Traceback" not in short.out
    assert "Traceback" in full.out
    assert short.err.endswith("events show 3\n")
    assert (data["state"], data["lag"], data["failure"]["global_position"]) == ("paused", 4, 3)


async def test_a_projection_is_paused_and_resumed(failing: Call, store: PostgreSQLEventStore) -> None:
    paused = await failing("projections", "pause", "parking", "--reason", "a test")
    state = (await ProjectionOperations(store).status("parking"))[0].state
    resumed = await failing("projections", "resume", "parking", "--json")

    assert (paused.status, paused.out) == (0, "parking is paused.\n")
    assert paused.err == f"Next: perdure --app {APP} projections resume parking\n"
    assert state == "paused"
    assert resumed.data == {"name": "parking", "done": "resumed"}
    actions = await ProjectionOperations(store).actions("parking")
    assert [(one.action, one.reason) for one in actions if one.action in ("paused", "resumed")] == [
        ("resumed", None),
        ("paused", "a test"),
    ]


async def test_a_projection_is_waited_for(failing: Call) -> None:
    assert (await failing("projections", "wait", "parking")).out == "parking has processed the log up to position 6.\n"

    late = await failing("projections", "wait", "parking", "--position", "99", "--timeout", "0.1")
    paused = await failing("projections", "wait", "pausing")
    parked = await failing("projections", "wait", "parking", "--position", "3")

    assert (late.status, paused.status, parked.status) == (1, 1, 1)
    assert "parking" in late.err
    assert late.err.endswith(f"Next: perdure --app {APP} projections status parking\n")
    assert "can't count to two" in paused.err
    assert paused.err.endswith(f"Next: perdure --app {APP} projections status pausing\n")
    assert "position 3" in parked.err
    assert parked.err.endswith(f"Next: perdure --app {APP} parked list parking\n")


@pytest.mark.parametrize("command", ["status", "pause", "resume", "wait"])
async def test_a_projection_that_is_not_there_is_told(perdure: Call, command: str) -> None:
    answer = await perdure("projections", command, "nope")

    assert answer.status == 2
    assert answer.err.endswith("Next: perdure projections list\n")


@pytest.mark.usefixtures("failing")
async def test_on_a_terminal_they_are_drawn_in_one_place_with_bars(database_url: str) -> None:
    status, printed = on_terminal("projections", "watch", database_url=database_url, ended_by=signal.SIGINT)

    lines = plain(printed).splitlines()
    assert status == 0
    assert any("━━━━━━━━" in line and line.startswith("parking") for line in lines)
    assert any("━━╌╌╌╌╌╌" in line and line.startswith("pausing") for line in lines)
    assert "pausing: ArithmeticError at position 3: can't count to two" in plain(printed)


@pytest.mark.usefixtures("failing")
async def test_projections_are_watched_until_told_to_stop(database_url: str) -> None:
    command = ("projections", "watch", "--interval", "0.1", "--json")
    with start(*command, database_url=database_url) as process:
        assert process.stdout is not None
        for _ in range(2):
            envelope = json.loads(process.stdout.readline())
            check_envelope(envelope)
            assert [one["name"] for one in envelope["data"]["projections"]] == ["parking", "pausing"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


async def test_parked_events_are_listed_and_shown(failing: Call) -> None:
    listed = await failing("parked", "list")
    shown = await failing("parked", "show", "parking", "3")
    [data] = (await failing("parked", "list", "parking", "--json")).data["parked"]

    assert listed.out.splitlines()[1].split()[:5] == ["parking", "3", "user.registered", '{"user_id":"2"}', "failed"]
    assert listed.err == f"Next: perdure --app {APP} parked show parking 3\n"
    assert "stream      user-2, version 1" in shown.out
    assert "ArithmeticError: can't count to two\nTraceback" in shown.out
    assert shown.err == f"Next: perdure --app {APP} parked retry parking --position 3\n"
    assert (data["state"], data["failure"]["kind"]) == ("failed", "handler")


async def test_what_is_not_parked_is_told(failing: Call) -> None:
    assert (await failing("parked", "list", "pausing")).out == "No failed parked events.\n"
    assert (await failing("parked", "list", "--state", "skipped")).out == "No skipped parked events.\n"
    answer = await failing("parked", "show", "parking", "4")

    assert answer.status == 1
    assert "no event at position 4 is parked for 'parking'" in answer.err


async def test_a_retry_tells_that_the_event_failed_again(failing: Call) -> None:
    [before] = (await failing("parked", "list", "--json")).data["parked"]
    retried = await failing("parked", "retry", "parking", "--wait")
    [after] = (await failing("parked", "list", "--json")).data["parked"]
    listed = await failing("parked", "list")

    assert retried.status == 1
    assert retried.out.startswith(
        "parking has handled 0 of 1 retried event.\n\nParked, because the last try failed: 1\n"
    )
    assert retried.out.splitlines()[-1] == listed.out.splitlines()[-1]
    assert retried.err == f"Next: perdure --app {APP} parked show parking 3\n"
    header, row = listed.out.splitlines()
    assert header.split() == ["projection", "position", "type", "key", "state", "tries", "last", "try", "error"]
    assert row.split()[5] == "2"
    assert after["failure"]["failed_at"] > before["failure"]["failed_at"]
    assert (after["parked_at"], after["is_retry_requested"]) == (before["parked_at"], False)


async def test_a_retry_tells_that_the_event_is_handled(failing: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cli.failing.is_mended", True)

    retried = await failing("parked", "retry", "parking", "--position", "3", "--wait")
    again = await failing("parked", "retry", "parking", "--wait", "--json")

    assert (retried.status, retried.out, retried.err) == (0, "parking has handled 1 of 1 retried event.\n", "")
    assert (await failing("parked", "list", "parking")).out == "No failed parked events.\n"
    assert (again.status, again.data["count"]) == (0, 0)


async def test_a_retry_that_nothing_runs_is_told(
    perdure: Call, store: PostgreSQLEventStore, events: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ProjectionService(store, app.projections, retry=RetryConfig(max_attempts=1)) as service:
        await service.wait_for("parking", 6, timeout=30)

    retried = await perdure("parked", "retry", "parking", "--wait", "--timeout", "0.1")
    data = (await perdure("parked", "retry", "parking", "--wait", "--timeout", "0", "--json")).data

    assert retried.status == 1
    assert "Not retried within 0.1 seconds: 1. A service that runs parking will retry it." in retried.out
    assert retried.err == "Next: perdure projections status\n"
    assert data["outcome"] == {"asked": 1, "handled": 0, "withdrawn": 0, "pending": 1, "failed": []}


async def test_failed_events_are_asked_to_be_taken_again(failing: Call, store: PostgreSQLEventStore) -> None:
    other = await failing("parked", "retry", "parking", "--kind", "decoding")
    waited = await failing("parked", "retry", "parking", "--key", '{"user_id":"none"}', "--wait")
    plain = await failing("parked", "retry", "parking", "--key", "5")
    assert (waited.status, waited.out) == (1, other.out)
    assert plain.status == 2
    assert "key is '5', but is written as in ParkedEvent.key" in plain.err
    asked = await failing("parked", "retry", "parking", "--type", "user.registered", "--json")

    assert other.out == "No failed event of parking matches, so nothing is retried.\n"
    assert (other.status, asked.status) == (1, 0)
    assert asked.data == {"name": "parking", "count": 1, "outcome": None}
    assert "retry asked" in [one.action for one in await ProjectionOperations(store).actions("parking")]


async def test_skipping_asks_before_it_does_it(failing: Call, database_url: str) -> None:
    answer = await failing("parked", "skip", "parking", "3", "--reason", "no such user")

    assert answer.status == 2
    assert "parking will never show the event at position 3." in answer.err
    assert answer.err.endswith("parked skip parking 3 --reason 'no such user' --yes\n")
    assert len((await failing("parked", "list", "--json")).data["parked"]) == 1


async def test_an_event_is_skipped(failing: Call) -> None:
    skipped = await failing("parked", "skip", "parking", "3", "--reason", "no such user", "--yes")
    again = await failing("parked", "skip", "parking", "5", "--reason", "no such user", "--yes")

    assert skipped.status == 0
    assert "The event at position 3 is skipped" in skipped.out
    assert (await failing("parked", "list", "--json")).data["parked"] == []
    assert len((await failing("parked", "list", "--state", "skipped", "--json")).data["parked"]) == 1
    assert again.status == 1
    assert "neither parked for 'parking' nor the event that it is paused before" in again.err


async def test_a_reason_is_needed_to_skip(failing: Call) -> None:
    answer = await failing("parked", "skip", "parking", "3", "--yes")

    assert answer.status == 2
    assert "--reason" in answer.err

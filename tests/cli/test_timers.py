"""``perdure timers``: what is set, what is due, and how one is cancelled."""

from datetime import timedelta

import asyncpg
import pytest

from perdure import PostgreSQLEventStore
from perdure.process_events import TimerCancelled
from tests.cli.calling import Call
from tests.projections.timers.timing import LATER, remaining, set_many, set_timer


async def test_timers_are_listed(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=LATER)
    due = await set_timer(connection, "bob")

    answer = await perdure("timers", "list")

    header, first, second = [row.split() for row in answer.out.splitlines()]
    assert header == ["due", "at", "process", "key", "timer", "state", "set", "by"]
    assert first[2:] == ["trials", '{"user_id":"bob"}', "end", "due", str(due.set_by)]
    assert second[2:6] == ["trials", '{"user_id":"ann"}', "end", "set"]
    assert (answer.status, answer.err) == (0, "")


async def test_timers_are_listed_by_process_instance_and_state(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=LATER)
    await set_timer(connection, "bob")
    await set_many(connection, 2, name="others")

    async def keys(*arguments: str) -> list[str]:
        return [one["key"] for one in (await perdure("timers", "list", *arguments, "--json")).data["timers"]]

    assert await keys("trials") == ['{"user_id":"bob"}', '{"user_id":"ann"}']
    assert await keys("trials", "--due") == ['{"user_id":"bob"}']
    assert await keys("--key", '{"user_id":"ann"}') == ['{"user_id":"ann"}']
    assert (await perdure("timers", "list", "nothing")).out == "No timers are set.\n"
    assert (await perdure("timers", "list", "nothing", "--due")).out == "No timers are due.\n"


async def test_a_page_tells_how_to_see_more(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_many(connection, 5)

    answer = await perdure("timers", "list", "trials", "--due", "--limit", "2", "--json")

    assert len(answer.data["timers"]) == 2
    assert answer.data["more"] is True
    assert answer.envelope["next"] == "perdure timers list trials --limit 4 --due"


async def test_the_status_shows_each_process(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=LATER)
    await set_timer(connection, "bob", due_in=timedelta(seconds=0))

    answer = await perdure("timers", "status")

    header, trials = [row.split() for row in answer.out.splitlines()]
    assert header == ["process", "timers", "due", "due", "for", "next", "due"]
    assert trials[:3] == ["trials", "2", "1"]
    assert answer.status == 0
    assert (await perdure("timers", "status", "nothing")).out == "No timers are set.\n"


async def test_overdue_timers_are_a_problem(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=timedelta(minutes=-2))

    answer = await perdure("timers", "status")

    assert "Timers fire while a service that runs a process is up" in answer.out
    assert (answer.status, answer.err) == (1, "Next: perdure run\n")
    [found] = (await perdure("timers", "status", "trials", "--json")).data["processes"]
    assert (found["name"], found["timers"], found["due"]) == ("trials", 1, 1)


async def test_a_timer_is_cancelled(perdure: Call, connection: asyncpg.Connection, store: PostgreSQLEventStore) -> None:
    timer = await set_timer(connection, "ann", due_in=LATER)
    call = ("timers", "cancel", "trials", timer.key, "end", "--reason", "she has left")

    unconfirmed = await perdure(*call)
    assert unconfirmed.status == 2
    assert f"Timer end of trials {timer.key} will never fire." in unconfirmed.err
    assert await remaining(connection) == [("ann", "end")]

    answer = await perdure(*call, "--yes")
    assert answer.out.startswith(f"Timer end of trials {timer.key} is cancelled. It would have fired at ")
    [cancelled] = await store.read_stream(timer.stream_id)
    assert isinstance(cancelled.event, TimerCancelled)
    assert cancelled.event.reason == "she has left"

    again = await perdure(*call, "--yes")
    assert again.status == 1
    assert "it has fired or was cancelled" in again.err
    assert again.err.endswith("Next: perdure timers list\n")


@pytest.mark.parametrize(
    "arguments", [("cancel", "trials", "{}", "end"), ("list", "--limit", "0"), ("status", "a", "b")]
)
async def test_wrong_usage_is_refused(perdure: Call, arguments: tuple[str, ...]) -> None:
    assert (await perdure("timers", *arguments)).status == 2

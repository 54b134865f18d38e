"""A row of a read model: now, at a point of the past, and what changed between two points."""

import pytest

from examples.streaming.events import ContentWatched
from examples.streaming.popularity import ContentPopularity
from examples.streaming.profiles import UserProfiles
from perdure import ANY, PostgreSQLEventStore, ProjectionService
from tests.cli.calling import Call

pytestmark = pytest.mark.usefixtures("events")


@pytest.fixture
async def profiles(store: PostgreSQLEventStore, events: None) -> None:
    """The rows are up to date."""
    async with ProjectionService(store, [UserProfiles()]) as service:
        await service.wait_for("user_profiles", 6, timeout=30)


@pytest.mark.usefixtures("profiles")
async def test_a_row_is_shown_as_it_is_and_as_it_was(streaming: Call) -> None:
    answer = await streaming("projections", "row", "user_profiles", "1")
    assert answer.out.startswith("projection  user_profiles\nkey         1\nat          now\n")
    assert '"subscription_plan": "premium"' in answer.out

    past = (await streaming("projections", "row", "user_profiles", "1", "--at", "1", "--json")).data
    assert (past["projection"], past["key"], past["at"]) == ("user_profiles", "1", 1)
    assert past["row"]["subscription_plan"] == "free"
    long_ago = await streaming("projections", "row", "user_profiles", "1", "--at", "2001-01-01")
    assert "There is no such row." in long_ago.out


async def test_two_points_are_compared(streaming: Call) -> None:
    answer = await streaming("projections", "row", "user_profiles", "1", "--diff", "1", "6")
    assert "--- at 1\n+++ at 6\n" in answer.out
    assert '-  "subscription_plan": "free"' in answer.out
    assert '+  "subscription_plan": "premium"' in answer.out

    changes = (await streaming("projections", "row", "user_profiles", "1", "--diff", "1", "6", "--json")).data[
        "changes"
    ]
    assert {"field": "subscription_plan", "before": "free", "after": "premium"} in changes
    same = await streaming("projections", "row", "user_profiles", "1", "--diff", "6", "2030-01-01")
    assert "The row is the same." in same.out
    created = (await streaming("projections", "row", "user_profiles", "1", "--diff", "0", "1", "--json")).data
    assert created["before"]["row"] is None


@pytest.fixture
async def popularity(store: PostgreSQLEventStore, events: None) -> None:
    """Three users watch the same content, the first of them twice; the rows are up to date."""
    last = None
    for user in ("3", "2", "1"):
        watched = ContentWatched(content_id="1", user_id=user, watch_duration_seconds=10, completion_percentage=1.0)
        last = await store.append_to_stream("content-1", ANY, [watched])
    async with ProjectionService(store, [ContentPopularity()]) as service:
        await service.wait_for("content_popularity", last, timeout=30)


@pytest.mark.usefixtures("popularity")
@pytest.mark.parametrize("point", [[], ["--at", "9"], ["--at", "2030-01-01"]])
async def test_child_rows_are_shown_in_the_order_of_their_keys(streaming: Call, point: list[str]) -> None:
    answer = await streaming("projections", "row", "content_popularity", "1", *point)
    data = (await streaming("projections", "row", "content_popularity", "1", *point, "--json")).data
    some = await streaming("projections", "row", "content_popularity", "1", *point, "--children", "2")

    row, viewers = answer.out.split("\nviewers: 3\n")
    assert '"unique_viewers": 3' in row
    assert [line.strip() for line in viewers.splitlines() if "user_id" in line] == [
        '"user_id": "1"',
        '"user_id": "2"',
        '"user_id": "3"',
    ]
    assert data["row"]["unique_viewers"] == 3
    assert data["children"]["viewers"]["rows"] == [{"content_id": "1", "user_id": user} for user in ("1", "2", "3")]
    assert data["children"]["viewers"]["more"] is False
    assert "\nviewers: the first 2\n" in some.out
    assert some.out.count("user_id") == 2


@pytest.mark.usefixtures("popularity")
async def test_child_rows_are_compared(streaming: Call) -> None:
    answer = await streaming("projections", "row", "content_popularity", "1", "--diff", "4", "7")
    data = (await streaming("projections", "row", "content_popularity", "1", "--diff", "4", "7", "--json")).data
    same = await streaming("projections", "row", "content_popularity", "1", "--diff", "8", "9")
    none = await streaming("projections", "row", "content_popularity", "2")

    row, viewers = answer.out.split("\nviewers\n")
    assert '+  "unique_viewers": 2' in row
    assert [line for line in viewers.splitlines() if "user_id" in line] == [
        '+    "user_id": "1"',
        '+    "user_id": "3"',
    ]
    assert data["child_changes"] == [
        {"child": "viewers", "before": None, "after": {"content_id": "1", "user_id": user}} for user in ("1", "3")
    ]
    assert "\nviewers" not in same.out
    assert none.out.endswith("There is no such row.\n\nviewers: 0\n")


@pytest.mark.parametrize(
    ("arguments", "status", "reason", "next_command"),
    [
        (["user_profiles", "1", "--at", "1", "--diff", "1", "2"], 2, "can't be combined", "projections row --help"),
        (
            ["nope", "1"],
            2,
            "has no table projection 'nope'; it has: content_popularity, user_profiles",
            "projections list",
        ),
        (
            ["user_profiles", "1", "2"],
            2,
            "a key of 'user_profiles' is user_id, not 2 words",
            "projections row user_profiles",
        ),
        (["user_profiles", "1", "--at", "soon"], 2, "'soon' is neither a position nor", "projections row --help"),
        (["user_profiles", "1"], 2, "there is no projection 'user_profiles'", "projections list"),
    ],
)
async def test_what_cannot_be_shown(
    streaming: Call, arguments: list[str], status: int, reason: str, next_command: str
) -> None:
    answer = await streaming("projections", "row", *arguments)

    assert answer.status == status
    assert reason in answer.err
    assert f" {next_command}" in answer.err.splitlines()[-1]

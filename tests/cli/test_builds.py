"""Projections are rebuilt beside what is shown, switched and rolled back."""

from collections.abc import AsyncIterator

import pytest

from perdure import PostgreSQLEventStore
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from tests.cli.calling import Call
from tests.cli.failing import Parking
from tests.projections.rebuilding import until_ready


@pytest.fixture
async def running(perdure: Call, store: PostgreSQLEventStore) -> AsyncIterator[Call]:
    """A projection that runs, and has nothing to do."""
    async with ProjectionService(store, [Parking()]):
        yield perdure


async def test_a_projection_is_rebuilt_and_shown_when_told_to(running: Call, store: PostgreSQLEventStore) -> None:
    begun = await running("projections", "rebuild", "parking", "--switch", "manual", "--reason", "a test")
    again = await running("projections", "rebuild", "parking")
    await until_ready(store, BuildId("parking", 1, 2))
    switched = await running("projections", "switch", "parking", "--json")
    back = await running("projections", "rollback", "parking")

    assert begun.out == "parking version 1 build 2 is being built beside the shown build.\n"
    assert begun.err == "Next: perdure projections watch parking\n"
    assert again.status == 1
    assert "is being built already" in again.err
    assert again.err.endswith("Next: perdure projections status parking\n")
    assert switched.data["done"] == "switched"
    assert [(one["build"], one["is_shown"]) for one in switched.data["builds"]] == [(2, True)]
    assert back.out == "parking version 1 build 1 is shown again, 0 positions behind the log.\n"


async def test_what_is_being_built_is_given_up(running: Call, store: PostgreSQLEventStore) -> None:
    await running("projections", "rebuild", "parking", "--switch", "manual")
    asked = await running("projections", "cancel-rebuild", "parking")
    done = await running("projections", "cancel-rebuild", "parking", "--yes")

    assert asked.status == 2
    assert asked.err.endswith("Next: perdure projections cancel-rebuild parking --yes\n")
    assert done.out == "Cancelled: parking version 1 build 2.\n"
    assert [one.build for one in await ProjectionOperations(store).status("parking")] == [1]


async def test_a_build_is_dropped_and_the_record_tells_by_whom(running: Call, store: PostgreSQLEventStore) -> None:
    await running("projections", "rebuild", "parking", "--switch", "manual")
    await until_ready(store, BuildId("parking", 1, 2))
    asked = await running("projections", "drop", "parking", "--version", "1", "--build", "2")
    done = await running(
        "projections", "drop", "parking", "--version", "1", "--build", "2", "--reason", "a test", "--yes"
    )
    shown = await running("projections", "drop", "parking", "--version", "1", "--yes")
    record = await running("projections", "actions", "parking", "--limit", "1")
    as_data = await running("projections", "actions", "--json")

    assert asked.status == 2
    assert asked.err.endswith("Next: perdure projections drop parking --version 1 --build 2 --yes\n")
    assert done.out == "parking version 1 build 2 is dropped.\n"
    assert [one.build for one in await ProjectionOperations(store).status("parking")] == [1]
    assert shown.status == 1
    assert "is shown: switch to another one first" in shown.err
    titles, line = record.out.splitlines()
    assert titles.split() == ["time", "projection", "version", "build", "action", "by", "reason", "detail"]
    assert line.split()[2:6] == ["parking", "1", "2", "dropped"]
    assert "a test" in line
    assert [one["action"] for one in as_data.data["actions"]] == ["dropped", "compared", "rebuild asked"]


async def test_a_record_in_which_nothing_stands(running: Call) -> None:
    assert (await running("projections", "actions")).out == "No actions yet.\n"


@pytest.mark.parametrize("command", ["switch", "rollback", "cancel-rebuild --yes"])
async def test_without_another_build_that_is_told(running: Call, command: str) -> None:
    name, *options = command.split()
    answer = await running("projections", name, "parking", *options)

    assert answer.status == 1
    assert answer.err.endswith("Next: perdure projections status parking\n")


@pytest.mark.parametrize("command", ["rebuild", "switch", "rollback", "actions", "drop --version 1 --yes"])
async def test_a_projection_that_is_not_there_is_told(perdure: Call, command: str) -> None:
    name, *options = command.split()
    answer = await perdure("projections", name, "nope", *options)

    assert answer.status == 2
    assert answer.err.endswith("Next: perdure projections list\n")

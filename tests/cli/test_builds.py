"""Projections are rebuilt beside what is shown, switched and rolled back."""

from collections.abc import AsyncIterator

import pytest

from perdure import PostgreSQLEventStore
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.tables import BuildId
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

    assert begun.out == "parking version 1 build 2 is being built beside what is shown.\n"
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
    assert done.out == "Given up: parking version 1 build 2.\n"
    assert [one.build for one in await ProjectionOperations(store).status("parking")] == [1]


@pytest.mark.parametrize("command", ["switch", "rollback", "cancel-rebuild --yes"])
async def test_without_another_build_that_is_told(running: Call, command: str) -> None:
    name, *options = command.split()
    answer = await running("projections", name, "parking", *options)

    assert answer.status == 1
    assert answer.err.endswith("Next: perdure projections status parking\n")


@pytest.mark.parametrize("command", ["rebuild", "switch", "rollback"])
async def test_a_projection_that_is_not_there_is_told(perdure: Call, command: str) -> None:
    answer = await perdure("projections", command, "nope")

    assert answer.status == 2
    assert answer.err.endswith("Next: perdure projections list\n")

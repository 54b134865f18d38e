"""The part of the matrix on projections and reactions, parameter by parameter."""

from __future__ import annotations

import pytest

from perdure import InMemoryEventStore, PostgreSQLEventStore
from tests.bad_input.checking import holes
from tests.bad_input.projection_calls import DEFINED as DEFINED_PROJECTIONS
from tests.bad_input.projection_calls import RUN as RUN_PROJECTIONS
from tests.bad_input.reaction_calls import DEFINED as DEFINED_REACTIONS
from tests.bad_input.reaction_calls import RUN as RUN_REACTIONS
from tests.bad_input.table import Table

DEFINED = {**DEFINED_PROJECTIONS, **DEFINED_REACTIONS}
RUN = {**RUN_PROJECTIONS, **RUN_REACTIONS}


def cells(table: Table) -> list[tuple[str, str]]:
    """The name of each call with each of its parameters."""
    return [(name, parameter) for name, call in table.items() for parameter in call.bad]


@pytest.mark.parametrize(("name", "parameter"), cells(DEFINED))
async def test_a_definition_refuses_what_it_cannot_use(name: str, parameter: str) -> None:
    assert await holes(name, DEFINED[name], InMemoryEventStore(), parameter) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "parameter"), cells(RUN))
async def test_a_service_refuses_what_it_cannot_use_and_writes_nothing(
    shared_store: PostgreSQLEventStore, name: str, parameter: str
) -> None:
    assert await holes(name, RUN[name], shared_store, parameter) == []

"""The part of the matrix on projections, parameter by parameter."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import InMemoryEventStore, PostgreSQLEventStore
from tests.bad_input.checking import holes
from tests.bad_input.projection_calls import DEFINED, RUN
from tests.bad_input.table import Table

OPEN = {
    "TableProjection.__init_subclass__": {"table", "key", "version", "on_failure"},
    "child_table": {"row", "table", "key", "keys"},
    "ChildRows.put": {"row"},
    "ProjectionService": {
        "store",
        "projections",
        "schema",
        "batch_size",
        "retry",
        "segments",
        "lease",
        "max_parked",
        "stop_timeout",
    },
    "ProjectionService.wait_for": {"name", "timeout"},
    "ProjectionService.resume": {"name"},
}
"""Cells that don't hold yet. One that holds loses its place here."""


def cells(table: Table) -> list[Any]:
    """The name of each call with each of its parameters."""
    awaited = pytest.mark.xfail(reason="not refused as it should be", strict=False)
    return [
        pytest.param(name, parameter, marks=[awaited] if parameter in OPEN.get(name, ()) else [])
        for name, call in table.items()
        for parameter in call.bad
    ]


@pytest.mark.parametrize(("name", "parameter"), cells(DEFINED))
async def test_a_definition_refuses_what_it_cannot_use(name: str, parameter: str) -> None:
    assert await holes(name, DEFINED[name], InMemoryEventStore(), parameter) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "parameter"), cells(RUN))
async def test_a_service_refuses_what_it_cannot_use_and_writes_nothing(
    shared_store: PostgreSQLEventStore, name: str, parameter: str
) -> None:
    assert await holes(name, RUN[name], shared_store, parameter) == []

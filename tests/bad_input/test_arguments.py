"""The matrix: each public call with each value that it must refuse, told by a typed error, and nothing written."""

from __future__ import annotations

import pytest

from perdure import InMemoryEventStore, PostgreSQLEventStore
from tests.bad_input.all_calls import ALONE, ON_A_STORE
from tests.bad_input.checking import holes


@pytest.mark.parametrize("name", ON_A_STORE)
async def test_the_store_in_memory_refuses_what_it_cannot_use_and_writes_nothing(name: str) -> None:
    async with InMemoryEventStore() as store:
        assert await holes(name, ON_A_STORE[name], store) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ON_A_STORE)
async def test_the_store_on_postgresql_refuses_what_it_cannot_use_and_writes_nothing(
    shared_store: PostgreSQLEventStore, name: str
) -> None:
    assert await holes(name, ON_A_STORE[name], shared_store) == []


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("name", ALONE)
async def test_a_call_refuses_what_it_cannot_use(name: str) -> None:
    assert await holes(name, ALONE[name], InMemoryEventStore()) == []

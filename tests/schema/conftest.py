"""The database of a test, for a writer and for a reader."""

from collections.abc import AsyncIterator

import pytest

from perdure import schema
from tests.schema.roles import new_role


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[str]:
    """The database's URL for a writer."""
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "writer")
        yield url


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[str]:
    """The database's URL for a reader."""
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "reader")
        yield url

"""A store for many calls."""

from collections.abc import AsyncIterator

import pytest_asyncio

from perdure import PostgreSQLEventStore
from tests.conftest import database


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_store(server_url: str, template: str) -> AsyncIterator[PostgreSQLEventStore]:
    """One for all calls: nothing is written into it but what each call takes."""
    async with database(server_url, template) as url, PostgreSQLEventStore(url) as store:
        yield store

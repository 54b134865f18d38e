"""A store for many calls."""

from collections.abc import AsyncIterator

import pytest_asyncio

from perdure import PostgreSQLEventStore
from tests.databases import Databases


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_store(databases: Databases) -> AsyncIterator[PostgreSQLEventStore]:
    """One for all calls: nothing is written into it but what each call takes."""
    async with databases.one() as url, PostgreSQLEventStore(url) as store:
        yield store

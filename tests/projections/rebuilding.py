"""What the tests of rebuilds share: waiting for what a rebuild comes to."""

import asyncio
from collections.abc import Awaitable, Callable

from perdure.projections.operations import ProjectionOperations
from perdure.projections.state.identity import BuildId
from perdure.projections.state.status import ProjectionStatus
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Visited


def visits(count: int, pages: int = 5) -> list[Visited]:
    return [Visited(page=f"p{n % pages}", visitor=f"v{n % 7}") for n in range(count)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Come back when it holds. A test that waits in vain ends by the time-out of all tests."""
    while not await condition():  # noqa: ASYNC110 - what it waits for happens in the database
        await asyncio.sleep(0.01)


async def builds(store: PostgreSQLEventStore, name: str = "pages") -> dict[BuildId, ProjectionStatus]:
    found = await ProjectionOperations(store).status(name)
    return {BuildId(one.name, one.version, one.build): one for one in found}


async def until_shown(store: PostgreSQLEventStore, build: BuildId) -> None:
    async def is_shown() -> bool:
        found = await builds(store, build.name)
        return build in found and found[build].is_shown

    await until(is_shown)


async def until_ready(store: PostgreSQLEventStore, build: BuildId) -> ProjectionStatus:
    async def is_ready() -> bool:
        found = await builds(store, build.name)
        return build in found and found[build].stage != "building"

    await until(is_ready)
    return (await builds(store, build.name))[build]

"""Folding the events of any story gives what recomputing it from its source gives."""

import asyncio

import msgspec
from hypothesis import given, settings

from examples.streaming import app
from examples.streaming.demo.replay import Replay
from examples.streaming.demo.source import Source
from examples.streaming.demo.verification import verify
from examples.streaming.demo.workload import plan
from examples.streaming.popularity import ContentPopularity
from examples.streaming.profiles import UserProfiles
from perdure import InMemoryEventStore, StoredEvent
from perdure.testing.projections import fold
from tests.examples.streaming.sources import sources


async def log_of(source: Source) -> list[StoredEvent]:
    store = InMemoryEventStore()
    async with app.connect(store):
        await Replay(plan(source), app, concurrency=4).run()
    return await store.read_all_events()


@given(sources)
@settings(deadline=None)  # the first example also pays for what is made once
def test_the_read_models_equal_the_recomputation(source: Source) -> None:
    log = asyncio.run(log_of(source))
    titles = [msgspec.structs.asdict(row) for row in fold(ContentPopularity(), log).values()]
    profiles = [msgspec.structs.asdict(row) for row in fold(UserProfiles(), log).values()]

    assert [str(difference) for check in verify(source, titles, profiles) for difference in check.differences] == []

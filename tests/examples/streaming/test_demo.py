"""The whole demo on PostgreSQL, on a made-up story that is shorter than the one people see."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console

from examples.streaming import app
from examples.streaming.demo import generated
from examples.streaming.demo.demo import Demo
from examples.streaming.demo.generated import generate
from examples.streaming.demo.outcome import Outcome
from examples.streaming.demo.source import Source
from perdure import PostgreSQLEventStore
from tests.examples.streaming.sources import SMALL


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    for name, value in (("TITLES", 60), ("USERS", 45), ("RATINGS_PER_USER", 20), ("TAGS", 50)):
        monkeypatch.setattr(generated, name, value)
    return generate(5)


async def outcome_of(source: Source, store: PostgreSQLEventStore, *, concurrency: int = 64) -> Outcome:
    async with app.connect(store):
        return await Demo(source, app, Console(file=StringIO()), concurrency=concurrency).run()


@pytest.mark.parametrize("concurrency", [1, 64])
async def test_every_row_is_as_recomputed(store: PostgreSQLEventStore, source: Source, concurrency: int) -> None:
    outcome = await outcome_of(source, store, concurrency=concurrency)

    assert [str(difference) for check in outcome.checks for difference in check.differences] == []
    assert (len(outcome.titles), len(outcome.profiles)) == (60, 45)
    assert outcome.events == len(await store.read_all_events())
    assert outcome.conflicts_retried == 9
    assert outcome.user.aggregate_id == "15"


async def test_people_without_an_account_and_titles_that_nobody_watches_pass_too(store: PostgreSQLEventStore) -> None:
    outcome = await outcome_of(SMALL, store)

    assert outcome.verified
    assert [row["user_id"] for row in outcome.profiles] == ["1", "15"]
    assert {row["content_id"]: row["trending_score"] for row in outcome.titles}["4"] is None


async def test_stopping_it_midway_is_quiet(
    store: PostgreSQLEventStore, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(outcome_of(source, store))
    async for stored in store.subscribe():
        if stored.global_position >= 500:
            break
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert caplog.messages == []

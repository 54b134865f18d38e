"""What an observer hears of projections."""

import asyncio

import pytest

from perdure.commit import ANY
from perdure.errors import ProjectionPausedError
from perdure.observation import EventsParked, Fact, ProjectionBatch, ProjectionFailed, ProjectionProgress
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.observing import Recorder, observed
from tests.projections.counting import Broken, Pages, Visited
from tests.projections.parking_lot import until_processed


class ParkingPages(Pages, table="parking_pages", key="page", on_failure="park"):
    """Parks what it can't take."""


async def test_batches_are_reported_with_their_events(store: PostgreSQLEventStore) -> None:
    recorder = Recorder()
    saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")] * 3)
    with observed(recorder):
        async with ProjectionService(store, [Pages()]) as service:
            await service.wait_for("pages", saved, timeout=30)

    batches = [one for one in recorder.operations if isinstance(one, ProjectionBatch)]
    assert [(one.projection, one.projection_version, len(one.events), one.done) for one in batches] == [
        ("pages", 1, 3, 3)
    ]


async def test_failures_are_reported_at_each_attempt(store: PostgreSQLEventStore) -> None:
    recorder = Recorder()
    saved = await store.append_to_stream("x-1", ANY, [Broken(page="a")])
    with observed(recorder):
        retry = RetryConfig(max_attempts=3, base_delay=0)
        async with ProjectionService(store, [Pages(is_broken=True)], retry=retry) as service:
            with pytest.raises(ProjectionPausedError):
                await service.wait_for("pages", saved, timeout=30)

    failures = [one for one in recorder.facts if isinstance(one, ProjectionFailed)]
    assert [(one.projection, one.stored.global_position, str(one.error)) for one in failures] == [
        ("pages", 1, "broken as asked")
    ] * 3


async def test_parked_events_are_reported_with_those_that_wait_behind_them(store: PostgreSQLEventStore) -> None:
    recorder = Recorder()
    saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), Visited(page="a", visitor="x")])
    with observed(recorder):
        retry = RetryConfig(max_attempts=1)
        async with ProjectionService(store, [ParkingPages(is_broken=True)], retry=retry) as service:
            await until_processed(service, "parking_pages", saved, timeout=30)

    parked = [one for one in recorder.facts if isinstance(one, EventsParked)]
    assert [(one.projection, one.count) for one in parked] == [("parking_pages", 2)]


async def test_the_progress_is_reported_without_being_asked_for(store: PostgreSQLEventStore) -> None:
    told = asyncio.Event()

    class Waiting(Recorder):
        def happened(self, fact: Fact) -> None:
            super().happened(fact)
            if isinstance(fact, ProjectionProgress) and fact.running:  # not before its first heartbeat
                told.set()

    recorder = Waiting()
    with observed(recorder):
        async with ProjectionService(store, [Pages()]):
            await asyncio.wait_for(told.wait(), 30)

    standing = next(one for one in recorder.facts if isinstance(one, ProjectionProgress) and one.running)
    assert (standing.projection, standing.running, standing.lag, standing.parked) == ("pages", True, 0, 0)

"""The gate before a deployment: can this code read what is stored?"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from perdure import (
    ANY,
    EventStore,
    EvolutionError,
    InMemoryEventStore,
    InvalidArgumentError,
    PostgreSQLEventStore,
    ProjectionPausedError,
    ProjectionService,
    RetryConfig,
    TableProjection,
    UnreadableEventsError,
    check_stored_events,
    event,
    handles,
    upcast,
)
from perdure.commit import Commit, EncodedEvent
from perdure.events import registry
from perdure.stores.postgres import reader

pytestmark = pytest.mark.usefixtures("own_registry")

OPENED = "evolution.opened"


@event(OPENED, version=2)
class Opened:
    name: str


@upcast(OPENED, from_version=1)
def rename(data: dict[str, Any]) -> dict[str, Any]:
    return {"name": data["title"]}


@pytest.fixture(params=["memory", "postgresql"])
async def store(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[EventStore]:
    async with InMemoryEventStore() if request.param == "memory" else PostgreSQLEventStore(database_url) as store:
        yield store


async def append(store: EventStore, *data: str, event_type: str = OPENED, version: int = 1) -> None:
    metadata = '{"timestamp":"2030-01-01T00:00:00Z"}'
    events = tuple(EncodedEvent(uuid4(), event_type, version, one, metadata) for one in data)
    await store.append(Commit("door-1", ANY, events, 100))


async def test_what_can_be_read_is_reported_by_type_and_version(store: EventStore) -> None:
    await append(store, *['{"title":"a"}'] * 5)
    await append(store, '{"name":"a"}', version=2)

    report = await check_stored_events(store, samples=2)

    assert report.problems == []
    assert [(one.event_type, one.event_version, one.count, one.checked) for one in report.types] == [
        (OPENED, 1, 5, 4),
        (OPENED, 2, 1, 1),
    ]
    assert str(report).splitlines() == [
        "'evolution.opened' in version 1 (5 stored): 4 checked",
        "'evolution.opened' in version 2 (1 stored): 1 checked",
    ]


async def test_an_empty_store_can_be_read(store: EventStore) -> None:
    assert (await check_stored_events(store)).types == ()


async def test_all_that_cant_be_read_is_told_at_once(store: EventStore) -> None:
    await append(store, '{"title":"a"}', '{"headline":"b"}', '{"title":"c"}', '{"title":3}')
    await append(store, '{"name":"a"}', version=2)
    await append(store, '{"name":"a"}', '{"name":"b"}', version=3)
    await append(store, *["{}"] * 3, event_type="evolution.forgotten")

    with pytest.raises(UnreadableEventsError) as caught:
        await check_stored_events(store)

    forgotten, misfits, newer = caught.value.problems
    assert forgotten.startswith(
        "'evolution.forgotten' in version 1 (3 stored): 3 of 3 checked can't be read, the first"
    )
    assert "has no class in this code: import the module" in forgotten
    assert "in version 1 (4 stored): 2 of 4 checked can't be read, the first at position 2: " in misfits
    assert "rename ('evolution.opened' from version 1) raised KeyError('title'); fix the upcaster" in misfits
    assert "schema has version 3, but this code knows only 2: deploy the newer code" in newer
    assert all(f"\n- {problem}" in str(caught.value) for problem in caught.value.problems)


async def test_types_that_others_read_can_be_left_out(store: EventStore) -> None:
    await append(store, '{"title":"a"}')
    await append(store, "{}", event_type="evolution.of_others")

    report = await check_stored_events(store, ignore=["evolution.of_others"])

    assert [one.event_type for one in report.types] == [OPENED]


async def test_without_a_number_of_samples_each_event_is_checked(store: EventStore) -> None:
    titles = ['{"title":"a"}'] * 300
    await append(store, *titles, '{"headline":"b"}', *titles)
    await append(store, "{}", event_type="evolution.of_others")

    await check_stored_events(store, ignore=["evolution.of_others"])
    with pytest.raises(UnreadableEventsError, match="1 of 601 checked can't be read, the first at position 301"):
        await check_stored_events(store, samples=None, ignore=["evolution.of_others"])


async def test_whatever_a_class_raises_is_a_reason(store: EventStore) -> None:
    @event("evolution.touchy")
    class Touchy:
        def __post_init__(self) -> None:
            raise KeyError

    await append(store, "{}", event_type="evolution.touchy")

    with pytest.raises(UnreadableEventsError, match=r"1 of 1 checked can't be read, .*: KeyError\(\)"):
        await check_stored_events(store)


async def test_code_with_gaps_is_refused_before_the_store_is_asked(store: EventStore) -> None:
    @event("evolution.gap", version=2)
    class Gap: ...

    with pytest.raises(EvolutionError, match=r"'evolution.gap' has version 2"):
        await check_stored_events(store)


@pytest.mark.parametrize(
    "arguments",
    [{"samples": 0}, {"samples": -1}, {"samples": "all"}, {"samples": True}, {"ignore": OPENED}, {"ignore": None}],
)
async def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        await check_stored_events(InMemoryEventStore(), **arguments)


async def test_rare_types_are_looked_for_near_their_ends_only(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the cost of samples doesn't grow with the log. The first and the last are always found."""
    monkeypatch.setattr(reader, "_SAMPLED_ROWS", 10)
    async with PostgreSQLEventStore(database_url) as store:
        for _ in range(9):
            await append(store, '{"name":"rare"}', version=2)
            await append(store, *['{"title":"a"}'] * 5)

        report = await check_stored_events(store, samples=9)

    rare = next(one for one in report.types if one.event_version == 2)
    assert (rare.count, rare.checked) == (9, 4)


async def test_projections_arent_started_by_code_with_gaps(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        service = ProjectionService(store, [])

        @event("evolution.gap", version=2)
        class Gap: ...

        with pytest.raises(EvolutionError):
            await service.start()


@event("evolution.row")
class Row:
    name: str
    count: int


class Doors(TableProjection[Row], table="doors", key="name"):
    @handles
    def opened(self, event: Opened, row: Row | None) -> Row:
        return Row(name=event.name, count=row.count + 1 if row else 1)


async def test_regression_25_upcasters_are_applied_when_a_paused_projection_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed for want of an upcaster is read anew, not as it was kept when it failed."""
    async with PostgreSQLEventStore(database_url) as store:
        await append(store, '{"title":"front"}', '{"headline":"back"}')
        await append(store, '{"name":"front"}', version=2)
        async with ProjectionService(store, [Doors()], retry=RetryConfig(max_attempts=1)) as service:
            with pytest.raises(ProjectionPausedError, match="raised KeyError"):
                await service.wait_for("doors", 3)
            monkeypatch.delitem(registry._upcasters, (OPENED, 1))
            upcast(OPENED, from_version=1)(lambda data: {"name": data.get("title") or data["headline"]})

            await service.resume("doors")
            await service.wait_for("doors", 3)

        async with store.database.connection() as connection:
            rows = await connection.fetch("select name, count from doors order by name")

    assert [tuple(row) for row in rows] == [("back", 1), ("front", 2)]

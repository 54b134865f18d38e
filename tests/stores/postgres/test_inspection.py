"""What people want to know of a store."""

from typing import Any

import pytest

from examples.streaming.events import ContentRated
from perdure import ANY, InvalidArgumentError, PostgreSQLEventStore
from perdure.stores.postgres.inspection import Inspection

RATED = ContentRated(content_id="1", user_id="1", rating=4.0)


@pytest.fixture
async def inspection(store: PostgreSQLEventStore) -> Inspection:
    for stream_id in ("b-2", "a-1", "b-10", "b.-1", "c-1", "b-2"):
        await store.append_to_stream(stream_id, ANY, [RATED])
    return Inspection(store.database)


async def test_streams_come_in_the_order_of_their_ids_with_their_last_event(inspection: Inspection) -> None:
    found = await inspection.streams()

    assert [(one.stream_id, one.stream_version, one.global_position) for one in found] == [
        ("a-1", 1, 2),
        ("b-10", 1, 3),
        ("b-2", 2, 6),
        ("b.-1", 1, 4),
        ("c-1", 1, 5),
    ]


async def test_streams_of_a_category_are_those_before_the_first_hyphen(inspection: Inspection) -> None:
    assert [one.stream_id for one in await inspection.streams("b")] == ["b-10", "b-2"]
    assert [one.stream_id for one in await inspection.streams("b", after="b-10")] == ["b-2"]
    assert [one.stream_id for one in await inspection.streams("b", after="a-1", limit=1)] == ["b-10"]
    assert await inspection.streams("b", after="c-1") == []
    with pytest.raises(InvalidArgumentError):
        await inspection.streams("b-2")


async def test_a_page_of_no_streams_is_empty(inspection: Inspection) -> None:
    assert await inspection.streams(limit=0) == []


async def test_a_page_of_streams_steps_by_the_index(store: PostgreSQLEventStore) -> None:
    async with store.database.connection() as connection:
        await connection.execute(
            "insert into perdure.events (stream_id, stream_version, event_id, event_type, event_version, event_data, "
            "metadata) select 'a-' || n % 100, 1 + n / 100, gen_random_uuid(), 'x', 1, '{}', "
            '\'{"timestamp":"2026-01-01T00:00:00Z"}\' '
            "from generate_series(0, 9999) n"
        )
        await connection.execute("analyze perdure.events")
        sql = Inspection(store.database)._sql["streams"]
        plan = await connection.fetch(f"explain (analyze, buffers) {sql}", "", None, 10)

    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan" not in text
    assert "events_stream_version" in text


async def test_an_idle_log_is_readable_up_to_its_end(inspection: Inspection) -> None:
    fence = await inspection.fence()

    assert (fence.safe_position, fence.last_drawn, fence.holders) == (6, 6, ())


async def test_who_appends_is_named_with_the_floor(inspection: Inspection, store: PostgreSQLEventStore) -> None:
    async with store.transaction() as tx:
        await store.append_to_stream("a-1", ANY, [RATED], tx=tx)
        fence = await inspection.fence()

    [holder] = fence.holders
    assert (fence.safe_position, fence.last_drawn) == (6, 7)
    assert (holder.floor, holder.state) == (6, "idle in transaction")
    assert holder.begun_at is not None


async def test_a_notify_is_heard(inspection: Inspection) -> None:
    assert await inspection.seconds_until_heard(30) is not None


async def test_a_notify_that_gets_lost_is_told(inspection: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(*arguments: Any) -> None:
        pass

    monkeypatch.setattr(inspection._database, "fetch", lose)

    assert await inspection.seconds_until_heard(0.01) is None

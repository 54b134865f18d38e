"""What PostgreSQL adds to the promises of every store."""

import pytest

from perdure.store import NO_STREAM
from perdure.events import event
from perdure.stores.postgres.store import PostgreSQLEventStore


@event("test.store.noted")
class Noted:
    text: str


@pytest.mark.parametrize("n", range(5))
async def test_an_append_can_be_read_back(store: PostgreSQLEventStore, n: int) -> None:
    saved = await store.append_to_stream("note-1", NO_STREAM, [Noted(text="hello")])
    assert [stored.event for stored in await store.read_stream("note-1")] == [Noted(text="hello")]
    assert saved.global_positions == (1,)

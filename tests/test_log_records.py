"""Log records tell what they are about, and nothing of payloads."""

import asyncio
import logging

import asyncpg
import pytest

from perdure.errors import DatabaseError
from perdure.events import event
from perdure.observation import keys
from perdure.stores.postgres.store import PostgreSQLEventStore

SECRET = "hunter2"


@event("logged.happened")
class Happened:
    text: str


def test_a_stream_is_told_with_its_category() -> None:
    assert keys(ValueError("x"), operation="load", stream_id="user-1-2") == {
        "perdure.operation": "load",
        "perdure.stream_id": "user-1-2",
        "perdure.category": "user",
        "error.type": "ValueError",
    }


async def test_a_row_that_the_database_refuses_is_not_quoted(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute(
        f"alter table perdure.events add constraint harmless check (event_data::text not like '%{SECRET}%')"
    )
    caplog.set_level(logging.DEBUG, "perdure")

    outcomes = await asyncio.gather(
        *(store.append_to_stream(f"a-{i}", 0, [Happened(text=SECRET)]) for i in range(4)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [DatabaseError] * 4
    assert not [str(outcome) for outcome in outcomes if SECRET in str(outcome)]
    record = next(record for record in caplog.records if "tried in halves" in record.message)
    assert record.__dict__["perdure.operation"] == "append"
    assert record.__dict__["perdure.appends"] > 1
    assert record.__dict__["error.type"] == "CheckViolationError"
    assert SECRET not in caplog.text

"""What callers may ask of rows although no row can have it: made-up cursors, and keys that no stream has."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError
from perdure.projections.service import ProjectionService
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.members import Joined, Members
from tests.repository.accounts import Balances, Deposited


@pytest.mark.parametrize("at_position", [None, 6])
@pytest.mark.parametrize(
    ("order_by", "place"),
    [
        ("plan", "[" * 100_000 + "]" * 100_000),
        ("plan", '{"plan":"\\u0000","member":"a"}'),
        ("joined_at", '{"joined_at":"2026-01-01T00:00:00","member":"a"}'),
        ("joined_at", '{"joined_at":"0001-01-01T00:00:00+23:59","member":"a"}'),
    ],
)
async def test_a_cursor_that_a_client_has_made_up_is_refused(
    store: PostgreSQLEventStore, order_by: str, place: str, at_position: int | None
) -> None:
    events = [Joined(member=f"m{number}", plan="free") for number in range(6)]
    async with ProjectionService(store, [Members()]) as service:
        await service.wait_for("members", await store.append_to_stream("x-1", ANY, events))
    page = await Members.find(store, order_by=order_by, limit=1)
    question, _ = msgspec.json.decode(urlsafe_b64decode(f"{page.next}=="))
    made_up = urlsafe_b64encode(f"[{question},{place}]".encode()).rstrip(b"=").decode()

    with pytest.raises(InvalidArgumentError, match="isn't a cursor of this query"):
        await Members.find(store, order_by=order_by, after=made_up, at_position=at_position)


@pytest.mark.parametrize("key", ["", "x" * 1000, "a\n"])
async def test_a_key_that_no_stream_can_have_has_no_row(store: PostgreSQLEventStore, key: str) -> None:
    async with ProjectionService(store, [Balances()]) as service:
        await service.wait_for("balances", await store.append_to_stream("account-1", 0, [Deposited(amount=1)]))

    assert await Balances.get(store, key) is None
    assert await Balances.get(store, key, at_position=1) is None
    assert await Balances.get(InMemoryEventStore(), key) is None

"""Events that are appended in a process are handed to those who follow the log there."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import LogDivergedError, OptimisticConcurrencyError, OutcomeUnknownError
from perdure.events import NewEvent, StoredEvent
from perdure.log import Next, Page, Seen, Subscription
from perdure.stores.postgres.appends import Appends
from perdure.stores.postgres.failures import UnconfirmedCommitError
from perdure.stores.postgres.group import GroupAppender
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import around
from tests.stores.postgres.races import insert, notes, other_connection, until

FIELDS = tuple(StoredEvent.__struct_fields__[:9])


async def following(store: PostgreSQLEventStore, **where: Any) -> tuple[Subscription, asyncio.Task[StoredEvent]]:
    """A follower that has read all there is, knows the last event, and waits to be told of the next one."""
    last = (await store.read_all_events())[-1]
    follower = store.subscribe(last.global_position, from_event_id=last.event_id, **where)
    follower._WAITS_AT_HEAD = follower._WAITS_AT_GAP = (3600, 3600)
    follower._PAUSE_AT_HEAD = 0
    await until(lambda: bool(store.is_listening))  # which wakes everybody once
    return follower, await next_of(store, follower)


async def next_of(store: PostgreSQLEventStore, follower: Subscription) -> asyncio.Task[StoredEvent]:
    coming = asyncio.create_task(anext(follower))
    await until(lambda: store.changes.awaited == follower._seen)
    return coming


def refuse_looks(store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever somebody gets from now on was handed over."""

    async def refused(*_: object) -> Page:
        raise AssertionError("the log was looked at")

    monkeypatch.setattr(store, "log_page", refused)


async def test_what_is_handed_over_is_what_is_read(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("before"))
    _, coming = await following(store)
    [event] = notes("é💥 '\"\\")
    with monkeypatch.context() as patch:
        refuse_looks(store, patch)
        await store.append_to_stream("note-é", NO_STREAM, [NewEvent(event, headers={"tenant": "💥"})])
        handed = await coming

    [stored] = await store.read_stream("note-é")
    assert [getattr(handed, name) for name in FIELDS] == [getattr(stored, name) for name in FIELDS]
    assert (handed.event, handed.metadata) == (stored.event, stored.metadata)
    assert handed.event is not event


async def test_each_of_many_events_is_handed_over_once(store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes(0))
    follower, coming = await following(store)
    for number in range(1, 50):
        await store.append_to_stream(f"note-{number % 3}", ANY, notes(number))
        stored = await coming
        assert (stored.global_position, stored.event.text) == (number + 1, str(number))
        coming = await next_of(store, follower)
    coming.cancel()


async def test_what_does_not_match_is_passed_over(store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("before"))
    follower, coming = await following(store, category="other")
    await store.append_to_stream("note-1", 1, notes("unwanted"))
    [unwanted] = await store.read_stream("note-1", from_version=1)
    await until(lambda: store.changes.awaited == Seen(2, unwanted.event_id))
    assert follower.position == 2

    refuse_looks(store, monkeypatch)
    await store.append_to_stream("other-1", NO_STREAM, notes("wanted"))
    assert (await coming).event.text == "wanted"


async def test_nothing_is_handed_over_a_gap(store: PostgreSQLEventStore, database_url: str) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("before"))
    follower, coming = await following(store)
    async with other_connection(database_url) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await insert(slow, "note-slow", 1, "first")
        await store.append_to_stream("note-1", 1, notes("second"))
        await until(lambda: bool(store.changes._waiters))
        assert (coming.done(), follower.position) == (False, 1)
        await transaction.commit()
    store.wake()

    assert [(await coming).event.text, (await anext(follower)).event.text] == ["first", "second"]


async def test_nothing_is_handed_over_in_another_log(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # As after a failover to a standby that had less, and took other events since.
    await store.append_to_stream("note-1", NO_STREAM, notes("lost"))
    _, coming = await following(store)
    await connection.execute("set session_replication_role = replica; delete from perdure.events")
    await connection.execute("select setval('perdure.global_position', 1, false)")
    await insert(connection, "note-1", 1, "another")

    await store.append_to_stream("note-1", 1, notes("behind the other"))
    with pytest.raises(LogDivergedError):
        await coming


@pytest.mark.parametrize("other_id", [UUID(int=1), UUID(int=2**128 - 1)])
async def test_those_who_have_read_up_to_another_event_look_for_themselves(
    store: PostgreSQLEventStore, other_id: UUID
) -> None:
    # An append is made for who has read furthest. If his event isn't in the log, as the second one, all look.
    await store.append_to_stream("note-1", NO_STREAM, notes("a"))
    _, first = await following(store)
    _, second = await following(store)
    other = asyncio.create_task(store.changes.wait(store.changes.count, 3600, Seen(1, other_id)))
    nobody = asyncio.create_task(store.changes.wait(store.changes.count, 3600))
    await asyncio.sleep(0)

    await store.append_to_stream("note-1", 1, notes("b"))
    handed = {(await coming).event_id for coming in (first, second)}
    assert (len(handed), await other, await nobody) == (1, None, None)


@pytest.mark.parametrize("last", [Seen(2**63 - 1, UUID(int=1)), Seen(0, UUID(int=1)), Seen(1, UUID(int=1))])
async def test_whatever_somebody_waits_behind_an_append_is_written(store: PostgreSQLEventStore, last: Seen) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("a"))
    waiting = asyncio.create_task(store.changes.wait(store.changes.count, 3600, last))
    await asyncio.sleep(0)

    result = await store.append_to_stream("note-1", 1, notes("b"))
    assert (result.stream_version, result.global_positions, await waiting) == (2, (2,), None)


async def test_conflicts_and_repeats_are_told_as_ever(store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("a"))
    follower, coming = await following(store)
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await store.append_to_stream("note-1", NO_STREAM, notes("b"))
    assert (conflict.value.expected_version, conflict.value.actual_version) == (0, 1)
    assert not coming.done()

    repeated = [NewEvent(note) for note in notes("c")]
    first = await store.append_to_stream("note-1", 1, repeated)
    assert (await coming).event.text == "c"
    coming = await next_of(store, follower)
    assert await store.append_to_stream("note-1", 1, repeated) == first
    await store.append_to_stream("note-1", 2, notes("d", "e"))  # several in one are looked for
    assert [(await coming).event.text, (await anext(follower)).event.text] == ["d", "e"]


async def test_a_repeat_is_read_as_it_was_written_first(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("a"))
    _, coming = await following(store)
    await insert(connection, "note-1", 2, "first")  # which tells nobody
    event_id = await connection.fetchval("select event_id from perdure.events where stream_version = 2")
    await store.append_to_stream("note-1", 1, [NewEvent(note, event_id=event_id) for note in notes("again")])

    assert (await coming).event.text == "first"


async def test_what_was_written_when_its_answer_got_lost_is_read(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_to_stream("note-1", NO_STREAM, notes("before"))
    follower, coming = await following(store)
    handed = list[Next | None]()
    next_event, announce = Appends.next_event, store.changes.announce

    async def lost(*args: Any, **settings: Any) -> None:
        await next_event(*args, **settings)
        raise ConnectionResetError("cut off")

    def announced(appended: Next | None = None) -> None:
        handed.append(appended)
        announce(appended)

    monkeypatch.setattr(Appends, "next_event", lost)
    monkeypatch.setattr(store.changes, "announce", announced)
    await store.append_to_stream("note-1", 1, notes("written once"))

    assert ((await coming).event.text, follower.position, handed) == ("written once", 2, [None])
    assert len(await store.read_all_events()) == 2


async def test_what_no_standby_has_confirmed_is_not_handed_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = list[Next | None]()

    def unconfirmed(*_: object) -> None:
        raise UnconfirmedCommitError

    async with PostgreSQLEventStore(database_url, direct_url=around(database_url), append_timeout=0.2) as store:
        await store.append_to_stream("note-1", NO_STREAM, notes("before"))
        _, coming = await following(store)
        monkeypatch.setattr(store.changes, "announce", lambda appended=None: handed.append(appended))
        monkeypatch.setattr(GroupAppender, "_check_confirmed", unconfirmed)
        with pytest.raises(OutcomeUnknownError):
            await store.append_to_stream("note-1", 1, notes("unconfirmed"))
        coming.cancel()

    assert not any(handed)

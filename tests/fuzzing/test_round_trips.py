"""Whatever is given: it comes back exactly as it was, or is refused by an error of ours before anything is written."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import perdure
from perdure import (
    ANY,
    AggregateRoot,
    EventEncodingError,
    InvalidArgumentError,
    NewEvent,
    PostgreSQLEventStore,
    Repository,
    StoredEvent,
    context,
    handles,
)
from perdure.events import registry
from tests.fuzzing.payloads import FINE, TROUBLE, Plain, events_of, spelled

names = st.one_of(
    FINE.texts.filter(bool),
    TROUBLE.texts,
    st.text(min_size=190, max_size=600),
    st.sampled_from(["-", "a-", "-b", "a-b-c", " - ", "%s-$1"]),
)
good_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
stream_ids = st.builds("{}-{}".format, good_ids.map(lambda text: text.replace("-", "+")), good_ids)
good_events, events = events_of(FINE), events_of(TROUBLE)
REFUSED = (EventEncodingError, InvalidArgumentError)


async def last_position(store: PostgreSQLEventStore) -> int:
    last = await store.read_all_events_backwards(max_count=1)
    return last[0].global_position if last else 0


def told_of(stored: StoredEvent | None) -> object:
    """All that a stored event tells."""
    assert stored is not None
    return *[getattr(stored, name) for name in stored.__struct_fields__ if name[0] != "_"], spelled(stored.event)


def can_be_read_exactly(events: list[Any], read: list[StoredEvent]) -> None:
    assert [spelled(one.event) for one in read] == [spelled(comparable(event)) for event in events]


def comparable(event: Any) -> Any:
    """The event as its class's own codec gives it back: a tuple where a list is declared, and the like."""
    codec = registry.by_class(type(event)).codec
    returned = codec.decode(codec.encode(event))
    assert returned == event
    return returned


@given(
    stream_id=stream_ids | stream_ids | names,
    batch=st.lists(good_events, min_size=1, max_size=3) | st.lists(events, min_size=1, max_size=2),
    told=st.dictionaries(good_ids, FINE.texts.filter(bool), max_size=2) | st.dictionaries(names, names, max_size=1),
)
async def test_an_append_comes_back_as_it_was_or_is_refused_and_nothing_written(
    store: PostgreSQLEventStore, stream_id: str, batch: list[Any], told: dict[str, str]
) -> None:
    before = await last_position(store)
    version = 0
    try:
        with context(user_id=next(iter(told), None), correlation_id=next(iter(told.values()), None), headers=told):
            version = await store.stream_version(stream_id)
            result = await store.append_to_stream(stream_id, version, batch)
    except REFUSED:
        assert await last_position(store) == before
        return

    read = await store.read_stream(stream_id, version)
    can_be_read_exactly(batch, read)
    assert [one.global_position for one in read] == list(result.global_positions)
    assert all(one.metadata.headers == told for one in read)
    assert all(one.metadata.user_id == next(iter(told), None) for one in read)
    category = stream_id.partition("-")[0]
    follower = store.subscribe(before, category=category)
    for found in (
        await store.read_all_events(before, category=category),
        [await anext(follower) for _ in batch],
        (await store.read_stream_backwards(stream_id, max_count=len(batch)))[::-1],
        [await store.read_event(one.event_id) for one in read],
    ):
        assert [told_of(one) for one in found] == [told_of(one) for one in read]


class Box(AggregateRoot, category="box"):
    value: Any = None
    seen: dict[str, Any] = perdure.field(default_factory=dict)

    @handles
    def filled(self, event: Plain) -> None:
        self.value = event.anything
        self.seen[event.text] = [event.number, event.ratio, event.amount, event.at, event.payment]


@given(
    number=st.integers(0, 10**9),
    batch=st.lists(good_events | st.builds(Plain, anything=FINE.anything) | events, max_size=4),
)
async def test_a_state_is_what_was_raised_with_snapshots_or_without(
    store: PostgreSQLEventStore, number: int, batch: list[Any]
) -> None:
    with_snapshots = Repository(Box, store, snapshot_every=1)
    aggregate_id = f"{number}.{await last_position(store)}"
    box = Box(aggregate_id)
    for payload in batch:
        before = spelled(vars(box))
        try:
            box.raise_event(payload)
            await with_snapshots.save(box)
        except REFUSED:
            box = await with_snapshots.load(aggregate_id) or Box(aggregate_id)
            assert spelled(vars(box)) == before
            continue
        replayed = await Repository(Box, store).get(aggregate_id)
        assert spelled(vars(await with_snapshots.get(aggregate_id))) == spelled(vars(replayed))
        box = replayed


@pytest.mark.usefixtures("own_registry")
@given(name=names, version=st.integers(1, 3))
async def test_an_event_type_of_any_name_is_written_and_found_or_refused_where_it_is_defined(
    store: PostgreSQLEventStore, name: str, version: int
) -> None:
    before = await last_position(store)
    try:
        kind: Any = perdure.event(name)(type("Kind", (), {"__annotations__": {"text": str}}))
    except InvalidArgumentError:
        return
    try:
        await store.append_to_stream("note-1", ANY, [kind(text=name)])
    finally:
        found = await store.read_all_events(before, event_types=[name])
        assert [(one.event_type, one.event) for one in found] == [(name, kind(text=name))]
        by_class = await store.read_all_events(before, event_types=[kind])
        assert [told_of(one) for one in by_class] == [told_of(one) for one in found]
        del registry._by_name[name]


@given(event_id=st.uuids(), other=st.uuids())
async def test_any_uuid_is_an_event_id(store: PostgreSQLEventStore, event_id: UUID, other: UUID) -> None:
    new = [NewEvent(Plain(), event_id=one) for one in {event_id, other}]

    first = await store.append_to_stream(f"note-{event_id}", ANY, new)

    assert await store.append_to_stream(f"note-{event_id}", ANY, new) == first
    assert [one.event_id for one in await store.read_stream(f"note-{event_id}")] == [
        one.metadata.event_id for one in new
    ]

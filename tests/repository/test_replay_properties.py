"""Whatever snapshots and old versions of events there are, what is loaded is what the events make."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import AggregateRoot, InMemoryEventStore, Repository, StoredEvent, event, field, handles, upcast
from perdure.log import PAGE_SIZE
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot


@event("shelf.filled", version=3)
class Filled:
    book: str
    copies: int


@upcast("shelf.filled", from_version=1)
def one_copy(data: dict[str, Any]) -> dict[str, Any]:
    return {"title": data["title"], "copies": data.get("copies", 1)}


@upcast("shelf.filled", from_version=2)
def titles_are_books(data: dict[str, Any]) -> dict[str, Any]:
    return {"book": data["title"], "copies": data["copies"]}


@event("shelf.emptied")
class Emptied:
    book: str


@event("shelf.dusted")
class Dusted:
    """The shelf doesn't handle it."""


class Shelf(AggregateRoot, category="shelf", state_version=2):
    copies: dict[str, int] = field(default_factory=dict)
    history: list[tuple[str, int]] = field(default_factory=list)
    last: str | None = None

    @handles
    def _filled(self, event: Filled) -> None:
        self.copies[event.book] = self.copies.get(event.book, 0) + event.copies
        self.history.append((event.book, event.copies))
        self.last = event.book

    @handles
    def _emptied(self, event: Emptied) -> None:
        self.history.append((event.book, -self.copies.pop(event.book, 0)))
        self.last = None


CODEC = StateCodec(Shelf)
BOOKS = st.sampled_from(["dune", "emma", "ü💥"])
EVENTS = st.lists(
    st.one_of(
        st.builds(Filled, book=BOOKS, copies=st.integers(-(2**63), 2**63 - 1) | st.just(1)),
        st.builds(Emptied, book=BOOKS),
        st.builds(Dusted),
    ),
    min_size=1,
    max_size=30,
)
LIES = st.sampled_from(["none", "version", "shape", "state_version", "garbage", "event_id", "event_of_other_stream"])
GARBAGE = st.sampled_from(["{}", "[]", "null", '{"copies":{},"history":[],"last":7}', "not json", ""])


class Anything(InMemoryEventStore):
    """Keeps any snapshot that it is given, however old."""

    def keep(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.stream_id] = snapshot

    def age(self, stored: StoredEvent, version: int) -> None:
        """Let an event be as an earlier release wrote it."""
        if isinstance(old := msgspec.json.decode(stored.event_data), dict) and "book" in old and "copies" in old:
            old["title"] = old.pop("book")
            if version == 1 and old["copies"] == 1:
                del old["copies"]
            self._log[stored.global_position - 1].event_data = msgspec.json.encode(old).decode()
            self._log[stored.global_position - 1].event_version = version


async def replay(store: InMemoryEventStore, version: int | None = None) -> Shelf:
    shelf = Shelf("1")
    for stored in await store.read_stream("shelf-1", 0, version):
        shelf.apply_stored_event(stored)
    return shelf


def snapshot_of(shelf: Shelf, event_id: UUID) -> Snapshot:
    return Snapshot("shelf-1", shelf.stream_version, event_id, CODEC.version, CODEC.shape, CODEC.encode(shelf))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), events=EVENTS)
def test_loading_with_any_snapshot_is_replaying(data: st.DataObject, events: list[object]) -> None:
    asyncio.run(_compare(data, events))


async def _compare(data: st.DataObject, events: list[object]) -> None:
    store = Anything()
    await store.append_to_stream("shelf-1", 0, events)
    for stored in await store.read_stream("shelf-1"):
        if version := data.draw(st.sampled_from([0, 1, 2]), label="written as version"):
            store.age(stored, version)
    other = await store.append_to_stream("shelf-2", 0, events)
    truth = await replay(store)

    # A snapshot of any version, true or with a lie: its state is another one then, so that using it would show.
    at = data.draw(st.integers(1, len(events)), label="version")
    lie = data.draw(LIES, label="lie")
    taken = await replay(store, at)
    if lie != "none":
        taken.last = "a lie"
    stored = (await store.read_stream("shelf-1"))[at - 1]
    lies: dict[str, dict[str, Any]] = {
        "none": {},
        "version": {"stream_version": at + data.draw(st.integers(1, 40), label="beyond")},
        "shape": {"state_shape": "of another release"},
        "state_version": {"state_version": 1},
        "garbage": {"state": data.draw(GARBAGE, label="garbage")},
        "event_id": {"event_id": uuid4()},
        "event_of_other_stream": {"event_id": (await store.read_stream(other.stream_id))[at - 1].event_id},
    }
    store.keep(msgspec.structs.replace(snapshot_of(taken, stored.event_id), **lies[lie]))

    shelves = Repository(Shelf, store, snapshot_every=data.draw(st.integers(1, 10), label="every"))
    loaded = await shelves.get("1")
    version = data.draw(st.integers(1, len(events)), label="at_version")
    past = await shelves.load("1", at_version=version)
    assert past is not None
    assert (vars(loaded), loaded.stream_version) == (vars(truth), truth.stream_version)
    assert (vars(past), past.stream_version) == (vars(await replay(store, version)), version)
    assert loaded.snapshot_version == (at if lie == "none" else 0)

    # And from there on: whatever it took a snapshot of, is what its events make.
    for more in data.draw(EVENTS, label="more"):
        await shelves.execute("1", lambda shelf, more=more: shelf.raise_event(more))  # type: ignore[misc]  # bound now
        loaded = await shelves.get("1")
        truth = await replay(store)
        assert (vars(loaded), loaded.stream_version) == (vars(truth), truth.stream_version)


async def test_a_snapshot_in_a_long_history_is_as_good_as_a_page_of_it() -> None:
    store = InMemoryEventStore()
    shelves = Repository(Shelf, store, snapshot_every=PAGE_SIZE)
    for number in range(3):
        events = [Filled(book=str(n % 7), copies=n) for n in range(PAGE_SIZE + number)]
        await store.append_to_stream("shelf-1", (await replay(store)).stream_version, events)
        await shelves.execute("1", lambda shelf: shelf.raise_event(Dusted()))

        loaded, truth = await shelves.get("1"), await replay(store)

        assert vars(loaded) == vars(truth)
        assert loaded.snapshot_version == loaded.stream_version == truth.stream_version

"""Snapshots: a store returns the latest of each stream, and only while it fits the log."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError, InvalidStreamIdError, StoreClosedError
from perdure.snapshot import Snapshot
from perdure.store import EventStore
from perdure.testing.conformance.samples import accepted, notes


async def taken(store: EventStore, version: int, state: object = None, stream_id: str = "note-1") -> Snapshot:
    """Return a snapshot after a version of a stream. If there is no such version, its event isn't in the log."""
    last = await store.read_stream(stream_id, version - 1, 1)
    event_id = last[0].event_id if last else uuid4()
    return Snapshot(stream_id, version, event_id, 1, "shape", msgspec.json.encode(state).decode())


class Snapshots:
    """The part of the suite on snapshots."""

    @pytest.fixture
    def claims_snapshots(self, store: EventStore) -> None:
        """Skip the test if the store has no snapshots."""
        if "snapshots" not in store.capabilities:
            pytest.skip(f"{type(store).__name__} doesn't claim snapshots")

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_a_snapshot_comes_back_as_it_was(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abc"))
        snapshot = await taken(store, 2, {"text": "quote\" \\ 💥 'ä'", "deep": [1, None, 1.5, {"a": [2]}]})

        await store.write_snapshot(snapshot)

        assert await store.read_snapshot("note-1") == snapshot
        assert await store.read_snapshot("note-2") is None

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_a_snapshot_makes_way_for_a_later_one_only(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abc"))

        for version, state, expected in [(2, "a", "a"), (1, "b", "a"), (2, "c", "c"), (3, "d", "d"), (2, "e", "d")]:
            await store.write_snapshot(await taken(store, version, state))

            kept = await store.read_snapshot("note-1")
            assert kept is not None
            assert kept.state == f'"{expected}"'

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_each_stream_has_a_snapshot_of_its_own(self, store: EventStore) -> None:
        for stream_id in ("note-1", "note-11"):
            await store.append_to_stream(stream_id, 0, notes("a"))
            await store.write_snapshot(await taken(store, 1, stream_id, stream_id))

        for stream_id in ("note-1", "note-11"):
            assert await store.read_snapshot(stream_id) == await taken(store, 1, stream_id, stream_id)

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_a_snapshot_that_does_not_fit_the_log_is_not_given(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        await store.append_to_stream("note-2", 0, notes("a", "b"))
        fitting, elsewhere = await taken(store, 2), await taken(store, 2, stream_id="note-2")

        for changes in ({"stream_version": 1}, {"event_id": uuid4()}, {"event_id": elsewhere.event_id}):
            await store.write_snapshot(msgspec.structs.replace(fitting, **changes))
            assert await store.read_snapshot("note-1") is None
        await store.write_snapshot(fitting)
        assert await store.read_snapshot("note-1") == fitting

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_a_snapshot_beyond_the_end_of_its_stream_makes_way(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        await store.write_snapshot(await taken(store, 7))
        assert await store.read_snapshot("note-1") is None

        fitting = await taken(store, 2)
        await store.write_snapshot(fitting)

        assert await store.read_snapshot("note-1") == fitting

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_an_event_is_found_by_its_id(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", ANY, notes("a"))
        await store.append_to_stream("note-2", ANY, notes("b", "c"))

        for stored in await store.read_all_events():
            found = await store.read_event(stored.event_id)
            assert found is not None
            assert (found.global_position, found.event) == (stored.global_position, stored.event)
        assert await store.read_event(uuid4()) is None

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_bad_arguments_of_snapshots_are_refused(self, store: EventStore) -> None:
        bad_ids: list[Any] = ["note", "", "note-\x00", 5, None]
        bad_snapshots: list[Any] = [None, "note-1", {"stream_id": "note-1"}]
        bad_event_ids: list[Any] = [None, "5", str(UUID(int=5)), 5]

        assert await accepted(bad_ids, store.read_snapshot, InvalidStreamIdError) == []
        assert await accepted(bad_snapshots, store.write_snapshot) == []
        for stream_id in bad_ids:
            with pytest.raises(InvalidArgumentError):
                await store.write_snapshot(Snapshot(stream_id, 1, uuid4(), 1, "shape", "{}"))
        assert await accepted(bad_event_ids, store.read_event) == []

    @pytest.mark.usefixtures("claims_snapshots")
    async def test_a_closed_store_gives_and_takes_no_snapshots(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", ANY, notes("a"))
        snapshot = await taken(store, 1)
        await store.close()

        with pytest.raises(StoreClosedError):
            await store.read_snapshot("note-1")
        with pytest.raises(StoreClosedError):
            await store.write_snapshot(snapshot)
        with pytest.raises(StoreClosedError):
            await store.read_event(snapshot.event_id)
